//! The files a guest is started from: opened once, read as often as the guest restarts.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use memory::Layout;
use ruzstd::decoding::StreamingDecoder;

use aarch64::Gpa;
use aarch64::machine::Span;

use super::error::BootError;
use super::image::ImageHeader;
use super::plan::{Footprint, Part};
use super::side_by_side;
use super::sniff::{self, Compression, Kind};

/// Bytes of a file that say what it is.
const HEAD: u64 = 64 << 10;
/// Bytes on the way from a file to guest memory.
const CHUNK: usize = 256 << 10;

/// A file that was found good enough to open.
#[derive(Debug)]
pub(super) struct Source {
    role: Part,
    path: PathBuf,
    file: File,
    length: u64,
}

/// The part of a kernel's file that goes into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    offset: u64,
    length: u64,
    compression: Option<Compression>,
}

/// A kernel's file, and what it holds.
#[derive(Debug)]
pub(super) struct Kernel {
    pub source: Source,
    payload: Payload,
    pub footprint: Footprint,
    /// The least bytes that the payload has when it is whole.
    whole: u64,
}

impl Source {
    pub fn open(role: Part, path: &Path) -> Result<Self, BootError> {
        let path = path.to_owned();
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let meta = std::fs::metadata(&path);
        let meta = match meta {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Err(BootError::NotAFile { role, path }),
            Err(source) => return Err(BootError::Io { role, path, source }),
        };
        if meta.len() == 0 {
            return Err(BootError::Empty { role, path });
        }
        match File::open(&path) {
            Ok(file) => Ok(Self {
                role,
                path,
                file,
                length: meta.len(),
            }),
            Err(source) => Err(BootError::Io { role, path, source }),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Copies the whole file to `span`, which has its length.
    pub fn load(&self, layout: &Layout, span: Span) -> Result<(), BootError> {
        let all = Payload {
            offset: 0,
            length: self.length,
            compression: None,
        };
        let copied = self.copy(all, layout, span)?;
        if copied < span.size {
            return Err(self.io(ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// The first bytes of a payload, as they are after decompression.
    fn head(&self, payload: Payload) -> Result<Vec<u8>, BootError> {
        let mut head = Vec::new();
        let mut reader = self.reader(payload)?.take(HEAD);
        reader
            .read_to_end(&mut head)
            .map_err(|e| self.failed(payload, e))?;
        Ok(head)
    }

    /// Puts a payload at the start of `span`. The number of bytes.
    fn copy(&self, payload: Payload, layout: &Layout, span: Span) -> Result<u64, BootError> {
        match payload.compression {
            None => self.read(payload, layout, span),
            Some(_) => self.decompress(payload, layout, span),
        }
    }

    /// Straight from the file into guest memory. Not mapped: a file that is cut off later would
    /// take the program down with it.
    fn read(&self, payload: Payload, layout: &Layout, span: Span) -> Result<u64, BootError> {
        if payload.length > span.size {
            return Err(self.too_long(span));
        }
        let Payload { offset, length, .. } = payload;
        let done = side_by_side::read(&self.file, offset, layout, span.base, length);
        done.map_err(|e| self.io(e))
    }

    fn decompress(&self, payload: Payload, layout: &Layout, span: Span) -> Result<u64, BootError> {
        let mut reader = self.reader(payload)?;
        let mut chunk = vec![0; CHUNK];
        let mut copied = 0;
        loop {
            let len = match reader.read(&mut chunk) {
                Ok(0) => return Ok(copied),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(payload, error)),
            };
            if len as u64 > span.size - copied {
                return Err(self.too_long(span));
            }
            layout.write(Gpa(span.base.0 + copied), &chunk[..len])?;
            copied += len as u64;
        }
    }

    fn reader(&self, payload: Payload) -> Result<Box<dyn Read + '_>, BootError> {
        self.seek(payload)?;
        let raw = (&self.file).take(payload.length);
        Ok(match payload.compression {
            None => Box::new(raw),
            Some(Compression::Gzip) => {
                Box::new(GzDecoder::new(BufReader::with_capacity(CHUNK, raw)))
            }
            Some(Compression::Zstd) => {
                let raw = BufReader::with_capacity(CHUNK, raw);
                let decoder = StreamingDecoder::new(raw);
                Box::new(decoder.map_err(|e| self.failed(payload, std::io::Error::other(e)))?)
            }
        })
    }

    fn seek(&self, payload: Payload) -> Result<(), BootError> {
        let start = SeekFrom::Start(payload.offset);
        (&self.file).seek(start).map_err(|e| self.io(e))?;
        Ok(())
    }

    fn too_long(&self, span: Span) -> BootError {
        BootError::TooLong {
            path: self.path(),
            room: span.size,
        }
    }

    fn failed(&self, payload: Payload, source: std::io::Error) -> BootError {
        match payload.compression {
            None => self.io(source),
            Some(compression) => BootError::Damaged {
                path: self.path(),
                compression,
                source,
            },
        }
    }

    fn io(&self, source: std::io::Error) -> BootError {
        BootError::Io {
            role: self.role,
            path: self.path(),
            source,
        }
    }
}

impl Kernel {
    /// Opens a kernel and finds out what it is.
    pub fn open(path: &Path) -> Result<Self, BootError> {
        let source = Source::open(Part::Kernel, path)?;
        let all = Payload {
            offset: 0,
            length: source.length,
            compression: None,
        };
        match sniff::identify(&source.head(all)?) {
            Kind::Image(header) => Self::image(source, all, &header),
            Kind::Compressed(compression) => Self::compressed(
                source,
                Payload {
                    compression: Some(compression),
                    ..all
                },
            ),
            Kind::Zboot(zboot) => {
                let end = zboot.offset + zboot.size;
                if end > source.length {
                    return Err(BootError::CutOff {
                        path: source.path(),
                    });
                }
                let inside = Payload {
                    offset: zboot.offset,
                    length: zboot.size,
                    compression: None,
                };
                let Some(compression) = sniff::compression(&source.head(inside)?) else {
                    return Err(BootError::Foreign {
                        path: source.path(),
                        foreign: sniff::ZBOOT_OTHER,
                        inside: false,
                    });
                };
                Self::compressed(
                    source,
                    Payload {
                        compression: Some(compression),
                        ..inside
                    },
                )
            }
            Kind::Flat => {
                let footprint = Footprint::Unknown {
                    at_least: source.length,
                };
                let whole = source.length;
                Ok(Self {
                    source,
                    payload: all,
                    footprint,
                    whole,
                })
            }
            Kind::Foreign(foreign) => Err(BootError::Foreign {
                path: source.path(),
                foreign,
                inside: false,
            }),
            Kind::CutOff => Err(BootError::CutOff {
                path: source.path(),
            }),
        }
    }

    fn compressed(source: Source, payload: Payload) -> Result<Self, BootError> {
        match sniff::identify(&source.head(payload)?) {
            Kind::Image(header) => Self::image(source, payload, &header),
            Kind::Foreign(foreign) => Err(BootError::Foreign {
                path: source.path(),
                foreign,
                inside: true,
            }),
            Kind::Compressed(_) | Kind::Zboot(_) | Kind::Flat => Err(BootError::NoImageInside {
                path: source.path(),
            }),
            Kind::CutOff => Err(BootError::CutOff {
                path: source.path(),
            }),
        }
    }

    fn image(source: Source, payload: Payload, header: &ImageHeader) -> Result<Self, BootError> {
        let length = payload.compression.is_none().then_some(payload.length);
        let whole = header.file_size.unwrap_or(0);
        if length.is_some_and(|length| length < whole) {
            return Err(BootError::CutOff {
                path: source.path(),
            });
        }
        let footprint = Footprint::of_image(header, length);
        Ok(Self {
            source,
            payload,
            footprint,
            whole,
        })
    }

    /// Puts the kernel into guest memory.
    pub fn load(&self, layout: &Layout, span: Span) -> Result<(), BootError> {
        let copied = self.source.copy(self.payload, layout, span)?;
        if copied < self.whole {
            return Err(BootError::CutOff {
                path: self.source.path(),
            });
        }
        Ok(())
    }
}
