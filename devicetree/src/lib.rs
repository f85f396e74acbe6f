//! devicetree
