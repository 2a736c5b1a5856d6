"""N11 (Türkiye): connector, and apart from it the simulator's face of the same contract."""
