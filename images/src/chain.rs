//! Which files an image is made of, without opening it for use.

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
    use std::fs;

    use crate::qcow2::create::Layout;
    use crate::testing::Folder;
    use crate::{NewImage, create};

    use super::*;

    #[test]
    fn the_files_of_an_image_are_those_it_names() {
        let folder = Folder::new("chain").unwrap();
        let [base, middle, top] = ["base", "middle", "top"].map(|name| folder.join(name));
        create(&base, &NewImage::Raw(1 << 20)).unwrap();
        for (overlay, backing) in [(&middle, "base"), (&top, "middle")] {
            let layout = Layout::on(overlay, backing.into(), Format::Auto, None).unwrap();
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
}
