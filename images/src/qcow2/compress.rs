//! Compressed clusters: raw deflate streams, which the format calls zlib, and zstd frames.

use std::io::{self, Read};

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The compression of this name.
#[must_use]
pub fn compression(name: &str) -> Option<Compression> {
    let known = [Compression::Zlib, Compression::Zstd];
    known.into_iter().find(|known| known.name() == name)
}

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Deflate.
    Zlib,
    /// zstd.
    Zstd,
}

impl Compression {
    /// Its number in the header.
    pub fn number(self) -> u8 {
        match self {
            Self::Zlib => 0,
            Self::Zstd => 1,
        }
    }

    /// Its name for users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Fills `cluster` from what was compressed. Whatever stands behind it is not looked at.
    pub fn expand(self, packed: &[u8], cluster: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Zlib => {
                let mut stream = Decompress::new(false);
                let done = stream.decompress(packed, cluster, FlushDecompress::Finish);
                let full = stream.total_out() == cluster.len() as u64;
                if done.is_err() || !full {
                    return Err(broken());
                }
                Ok(())
            }
            Self::Zstd => {
                let mut stream = StreamingDecoder::new(packed).map_err(|_| broken())?;
                stream.read_exact(cluster).map_err(|_| broken())
            }
        }
    }

    /// What `cluster` compresses to, if that is shorter.
    pub fn pack(self, cluster: &[u8]) -> Option<Vec<u8>> {
        let packed = match self {
            Self::Zlib => {
                let mut stream = Compress::new(flate2::Compression::default(), false);
                let mut packed = Vec::with_capacity(cluster.len());
                let done = stream.compress_vec(cluster, &mut packed, FlushCompress::Finish);
                if !matches!(done, Ok(Status::StreamEnd)) {
                    return None;
                }
                packed
            }
            Self::Zstd => compress_to_vec(cluster, CompressionLevel::Fastest),
        };
        (packed.len() < cluster.len()).then_some(packed)
    }
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a compressed cluster cannot be expanded",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_expand_to_what_they_were() {
        let cluster: Vec<u8> = (0..65536u32).map(|n| (n / 97) as u8).collect();
        for kind in [Compression::Zlib, Compression::Zstd] {
            let mut packed = kind.pack(&cluster).unwrap();
            assert!(packed.len() < cluster.len() / 2, "{kind:?}");
            packed.extend([0x55; 300]);
            let mut out = vec![0; cluster.len()];
            kind.expand(&packed, &mut out).unwrap();
            assert!(out == cluster, "{kind:?}");
            assert!(kind.expand(&packed[..20], &mut out).is_err());
            assert!(kind.expand(b"rubbish", &mut out).is_err());
        }
    }
}
