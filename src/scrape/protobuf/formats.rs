//! In which form histograms are read.

/// The forms in which histograms are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramFormats {
    /// Whether native histograms are taken, where there are some (`scrape_native_histograms`).
    pub native: bool,
    /// Whether the classic buckets of a native histogram are taken, too
    /// (`always_scrape_classic_histograms`).
    pub always_classic: bool,
}

impl Default for HistogramFormats {
    fn default() -> Self {
        Self {
            native: true,
            always_classic: false,
        }
    }
}
