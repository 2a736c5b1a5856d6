-- Written by hand from the schema of OpenCart 3.0 (no master_id, variant, override). Prefix "shop_".
CREATE TABLE `shop_product` (
  `product_id` int(11) NOT NULL, `model` varchar(64) NOT NULL, `sku` varchar(64) NOT NULL,
  `upc` varchar(12) NOT NULL, `ean` varchar(14) NOT NULL, `jan` varchar(13) NOT NULL,
  `isbn` varchar(17) NOT NULL, `mpn` varchar(64) NOT NULL, `quantity` int(4) NOT NULL DEFAULT '0',
  `image` varchar(255) DEFAULT NULL, `manufacturer_id` int(11) NOT NULL,
  `price` decimal(15,4) NOT NULL DEFAULT '0.0000', `tax_class_id` int(11) NOT NULL,
  `weight` decimal(15,8) NOT NULL, `weight_class_id` int(11) NOT NULL,
  `length` decimal(15,8) NOT NULL, `width` decimal(15,8) NOT NULL, `height` decimal(15,8) NOT NULL,
  `length_class_id` int(11) NOT NULL, `status` tinyint(1) NOT NULL DEFAULT '0',
  PRIMARY KEY (`product_id`)
) ENGINE=MyISAM;
INSERT INTO `shop_product` VALUES
(1, 'FNR-10', '', '', '8690000000012', '', '', 'PN-7', 5, 'catalog/fener.jpg', 1, '100.0000', 9, '0.50000000', 1, '10.00000000', '2.50000000', '4.00000000', 1, 1),
(2, 'GMK-20', '', '', '8690000000029', '', '', '', 9, NULL, 0, '200.0000', 9, '300.00000000', 2, '0', '0', '0', 1, 1),
(3, 'KTP-30', 'ROMAN-1', '', '', '', '978-605-00-0000-9', '', 3, NULL, 0, '50.0000', 8, '1.00000000', 7, '0', '0', '0', 1, 1),
(4, 'KPL-40', '', '', '', '', '', '', 3, NULL, 0, '50.0000', 9, '0', 1, '0', '0', '0', 1, 0);
INSERT INTO `shop_product_description` (`product_id`, `language_id`, `name`, `description`) VALUES
(1, 2, 'Fener &amp; Pil', '&lt;p&gt;Işıklı; &quot;uzun&quot; ömürlü&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;'),
(1, 1, 'Torch', ''),
(2, 2, 'Gömlek', ''),
(3, 2, 'Roman', ''),
(4, 2, 'Kapalı', ''),
(77, 2, 'Silinmiş', '');
INSERT INTO `shop_language` (`language_id`, `name`, `code`) VALUES (1, 'English', 'en-gb'), (2, 'Türkçe', 'tr-tr');
INSERT INTO `shop_setting` (`store_id`, `key`, `value`) VALUES (0, 'config_currency', 'TRY'), (0, 'config_customer_group_id', '2');
INSERT INTO `shop_manufacturer` (`manufacturer_id`, `name`) VALUES (1, 'Ayd&#305;n');
INSERT INTO `shop_category` (`category_id`, `parent_id`) VALUES (1, 0), (2, 1), (3, 0);
INSERT INTO `shop_category_description` (`category_id`, `language_id`, `name`) VALUES (1, 2, 'Ev'), (2, 2, 'Ayd&#305;nlatma'), (3, 2, 'Kampanya');
INSERT INTO `shop_product_to_category` (`product_id`, `category_id`) VALUES (1, 3), (1, 1), (1, 2);
INSERT INTO `shop_attribute_description` (`attribute_id`, `language_id`, `name`) VALUES (4, 2, 'Renk'), (4, 1, 'Color');
INSERT INTO `shop_product_attribute` (`product_id`, `attribute_id`, `language_id`, `text`) VALUES (1, 4, 1, 'Red'), (1, 4, 2, 'Kırmızı');
INSERT INTO `shop_product_image` (`product_image_id`, `product_id`, `image`, `sort_order`) VALUES (1, 1, 'catalog/b.jpg', 2), (2, 1, 'catalog/a.jpg', 1);
INSERT INTO `shop_option` (`option_id`, `type`, `sort_order`) VALUES (1, 'select', 1), (2, 'text', 2);
INSERT INTO `shop_option_description` (`option_id`, `language_id`, `name`) VALUES (1, 2, 'Beden'), (2, 2, 'Hediye Notu');
INSERT INTO `shop_option_value_description` (`option_value_id`, `language_id`, `option_id`, `name`) VALUES (10, 2, 1, 'Küçük'), (11, 2, 1, 'Büyük'), (12, 2, 1, 'küçük');
INSERT INTO `shop_product_option` (`product_option_id`, `product_id`, `option_id`, `value`, `required`) VALUES (100, 2, 1, '', 1), (101, 2, 2, '', 0);
INSERT INTO `shop_product_option_value` (`product_option_value_id`, `product_option_id`, `product_id`, `option_id`, `option_value_id`, `quantity`, `subtract`, `price`, `price_prefix`, `weight`, `weight_prefix`) VALUES
(1002, 100, 2, 1, 12, 1, 1, '0.0000', '+', '0', '+'),
(1001, 100, 2, 1, 11, 4, 1, '50.0000', '=', '20', '-'),
(1000, 100, 2, 1, 10, 4, 1, '10.0000', '-', '5', '+');
INSERT INTO `shop_product_special` (`product_special_id`, `product_id`, `customer_group_id`, `priority`, `price`, `date_start`, `date_end`) VALUES
(1, 1, 2, 2, '70.0000', '0000-00-00', '0000-00-00'),
(2, 1, 2, 1, '80.0000', '2026-11-01', '2026-11-21'),
(3, 1, 2, 0, '60.0000', '2026-11-01', '2026-11-20'),
(4, 1, 1, 0, '10.0000', '0000-00-00', '0000-00-00');
INSERT INTO `shop_tax_class` (`tax_class_id`, `title`) VALUES (9, 'KDV %20'), (8, 'KDV %1');
INSERT INTO `shop_tax_rate` (`tax_rate_id`, `name`, `rate`, `type`) VALUES (86, 'KDV 20', '20.0000', 'P'), (87, 'KDV 1', '1.0000', 'P');
INSERT INTO `shop_tax_rule` (`tax_rule_id`, `tax_class_id`, `tax_rate_id`, `based`) VALUES (1, 9, 86, 'shipping'), (2, 9, 86, 'payment'), (3, 8, 87, 'store');
INSERT INTO `shop_weight_class` (`weight_class_id`, `value`) VALUES (1, '1.0'), (2, '1000.0'), (7, '2.0');
INSERT INTO `shop_weight_class_description` (`weight_class_id`, `language_id`, `title`, `unit`) VALUES (1, 2, 'Kilogram', 'kg'), (2, 2, 'Gram', 'g'), (7, 2, 'Yarım kilo', 'yk');
INSERT INTO `shop_length_class` (`length_class_id`, `value`) VALUES (1, '1.0');
INSERT INTO `shop_length_class_description` (`length_class_id`, `language_id`, `title`, `unit`) VALUES (1, 2, 'Santimetre', 'cm');
