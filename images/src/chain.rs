//! Which files an image is made of, without opening it for use.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::open::{self, MOST_IN_CHAIN};
use crate::options::{Cache, Format, Options};
use crate::qcow2::header::Header;

/// The files of the image at `path`: its own, its backing file, that one's, and so on, by the names
/// that lead to them. They are read, but neither locked nor written; where one cannot be read, the
/// list ends with it. What is wrong there is for [`open()`](crate::open()) to say.
#[must_use]
pub fn files(path: &Path, format: Format) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let mut next = backing_of(path, format);
    // One that is on top of itself has no end.
    while let Ok(Some((path, format))) = next
        && files.len() <= MOST_IN_CHAIN
    {
        next = backing_of(&path, format);
        files.push(path);
    }
    files
}

/// The directories of those files of the image at `path` that are not below its own: what has to be
/// [allowed](crate::Backing) for it to be opened.
#[must_use]
pub fn outside(path: &Path, format: Format) -> Vec<PathBuf> {
    let Some(own) = open::own_directory(path) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for file in files(path, format) {
        if let Ok(real) = fs::canonicalize(file)
            && let Some(directory) = real.parent()
            && !directory.starts_with(&own)
            && !found.iter().any(|known| directory.starts_with(known))
        {
            found.push(directory.to_owned());
        }
    }
    found
}

/// The backing file of the image at `path`, and its format.
fn backing_of(path: &Path, format: Format) -> Result<Option<(PathBuf, Format)>, Problem> {
    let options = Options {
        readonly: true,
        format,
        cache: Cache::Writeback,
        lock: false,
        ..Options::default()
    };
    let opened = open::open_file(path, &options)?;
    if open::identify(&*opened.storage, format)?.0 != Format::Qcow2 {
        return Ok(None);
    }
    let header = Header::read(&*opened.storage)?;
    let Some(name) = header.backing else {
        return Ok(None);
    };
    let format = open::backing_format(&name)?;
    Ok(Some((open::resolve(path, &name.name)?, format)))
}

#[cfg(test)]
mod tests {
    use crate::qcow2::create::Layout;
    use crate::testing::Folder;
    use crate::{Backing, NewImage, create};

    use super::*;

    #[test]
    fn the_files_of_an_image_are_those_it_names() {
        let folder = Folder::new("chain").unwrap();
        let [base, middle, top] = ["base", "middle", "top"].map(|name| folder.join(name));
        create(&base, &NewImage::Raw(1 << 20)).unwrap();
        for (overlay, backing) in [(&middle, "base"), (&top, "middle")] {
            let layout = Layout::on(overlay, backing.into(), &Options::default(), None).unwrap();
            create(overlay, &NewImage::Qcow2(layout)).unwrap();
        }
        assert_eq!(
            files(&top, Format::Auto),
            [top.clone(), middle.clone(), base.clone()]
        );
        assert_eq!(files(&top, Format::Raw).len(), 1, "its bytes only");
        assert_eq!(files(&base, Format::Auto).len(), 1);
        fs::remove_file(&base).unwrap();
        assert_eq!(files(&top, Format::Auto).len(), 3, "its name is known");
        fs::copy(&top, &middle).unwrap();
        let list = files(&top, Format::Auto);
        assert_eq!(list.len(), MOST_IN_CHAIN + 1, "it names itself");
    }

    #[test]
    fn what_has_to_be_allowed_is_told() {
        let folder = Folder::new("chain-outside").unwrap();
        let [near, far] = ["near", "far"].map(|name| folder.join(name));
        for directory in [&near, &far] {
            fs::create_dir_all(directory.join("below")).unwrap();
        }
        create(&far.join("below/base"), &NewImage::Raw(1 << 20)).unwrap();
        let overlays = [
            (far.join("middle"), "below/base", Vec::new()),
            (
                near.join("below/high"),
                "../../far/middle",
                vec![far.clone()],
            ),
            (near.join("top"), "below/high", vec![far.clone()]),
        ];
        for (overlay, backing, outside_it) in overlays {
            let allowed = Options {
                backing: Backing::SameTree(outside_it.clone()),
                ..Options::default()
            };
            let layout = Layout::on(&overlay, backing.into(), &allowed, None).unwrap();
            create(&overlay, &NewImage::Qcow2(layout)).unwrap();
            assert_eq!(outside(&overlay, Format::Auto), outside_it, "{overlay:?}");
            crate::open(&overlay, &allowed).unwrap();
            if let [directory] = &outside_it[..] {
                let refused = crate::open(&overlay, &Options::default()).unwrap_err();
                let said = format!("allow-backing={}", directory.display());
                assert!(refused.to_string().contains(&said), "{refused}");
            }
        }
    }
}
