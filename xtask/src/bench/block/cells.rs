//! What is measured: the cells of the table, and the job file that has fio go through them.

use std::fmt::Write;

/// One kind of work for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The job's name.
    pub name: &'static str,
    /// What people read.
    pub title: &'static str,
    /// What fio calls it.
    work: &'static str,
    /// Bytes of a request.
    bytes: u32,
    /// Requests under way.
    depth: u32,
}

/// All of them, in their order.
pub const CELLS: [Cell; 6] = [
    cell("read-1", "4k random read, depth 1", "randread", 4096, 1),
    cell("write-1", "4k random write, depth 1", "randwrite", 4096, 1),
    cell("read-32", "4k random read, depth 32", "randread", 4096, 32),
    cell(
        "write-32",
        "4k random write, depth 32",
        "randwrite",
        4096,
        32,
    ),
    cell("stream-in", "128k sequential read", "read", LARGE, 8),
    cell("stream-out", "128k sequential write", "write", LARGE, 8),
];
/// Bytes of a sequential request, of which 8 are under way.
const LARGE: u32 = 128 << 10;

const fn cell(
    name: &'static str,
    title: &'static str,
    work: &'static str,
    bytes: u32,
    depth: u32,
) -> Cell {
    Cell {
        name,
        title,
        work,
        bytes,
        depth,
    }
}

impl Cell {
    /// Whether bytes a second say more than requests a second.
    pub fn is_stream(&self) -> bool {
        self.bytes == LARGE
    }
}

/// fio's job file. How long a job runs is `CELL_SECONDS` in its environment. Each job begins and ends
/// with a call of `/bin/count`, after fio has started and before it goes.
pub fn job_file(disk: &str) -> String {
    let mut text = format!(
        "[global]\nfilename={disk}\ndirect=1\nioengine=libaio\nthread=1\ngtod_reduce=1\n\
         norandommap=1\ntime_based=1\nruntime=${{CELL_SECONDS}}\n"
    );
    for Cell {
        name,
        title: _,
        work,
        bytes,
        depth,
    } in CELLS
    {
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n[{name}]\nstonewall\nrw={work}\nbs={bytes}\niodepth={depth}\n\
             exec_prerun=/bin/count {name} begin\nexec_postrun=/bin/count {name} end\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_a_job_that_waits_for_the_one_before() {
        let text = job_file("/dev/vda");
        assert_eq!(text.matches("stonewall").count(), CELLS.len());
        for Cell { name, depth, .. } in CELLS {
            let job = text.split_once(&format!("[{name}]")).expect(name).1;
            assert!(job.contains(&format!("iodepth={depth}\n")), "{name}");
            assert!(
                job.contains(&format!("/bin/count {name} begin\n")),
                "{name}"
            );
        }
    }
}
