"""Files in and out beside the catalog: daily sheets, past orders, exports, whole merchants."""
