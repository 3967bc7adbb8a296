//! What the kernel says about a process.

use std::fs;

use crate::Outcome;

/// Proportional set size, in KiB: private memory plus our share of what is mapped by several.
pub(crate) fn pss_kib(pid: u32) -> Outcome<f64> {
    field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Pss:")
}

/// Peak resident memory since the program was executed, in KiB, if the process still runs `name`.
pub(crate) fn peak_rss_kib(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // Between fork and exec a child still shows its parent's memory, and name.
    if status.strip_prefix("Name:")?.trim_start().split('\n').next() != Some(name) {
        return None;
    }
    field(&status, "VmHWM:").ok()
}

/// Bytes that the process caused to be written to disk, its living descendants included.
pub(crate) fn write_bytes(pid: u32) -> Outcome<f64> {
    let mut total = field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "\nwrite_bytes:")?;
    for child in children(pid)? {
        total += write_bytes(child).unwrap_or(0.0); // gone meanwhile
    }
    Ok(total)
}

/// Child processes of any thread.
pub(crate) fn children(pid: u32) -> Outcome<Vec<u32>> {
    let mut found = Vec::new();
    for task in tasks(pid)? {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(found)
}

/// CPU time used by the living threads, in milliseconds.
pub(crate) fn cpu_ms(pid: u32) -> Outcome<f64> {
    let mut total = 0.0;
    for task in tasks(pid)? {
        total += task_cpu_ms(pid, task).unwrap_or(0.0); // gone meanwhile
    }
    Ok(total)
}

/// CPU time of the thread of that name, in milliseconds.
pub(crate) fn thread_cpu_ms(pid: u32, name: &str) -> Outcome<f64> {
    for task in tasks(pid)? {
        let comm = fs::read_to_string(format!("/proc/{pid}/task/{task}/comm")).unwrap_or_default();
        if comm.trim_end() == name {
            return task_cpu_ms(pid, task);
        }
    }
    Err(format!("process {pid} has no thread `{name}`").into())
}

fn task_cpu_ms(pid: u32, task: u32) -> Outcome<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat"))?;
    let nanoseconds = text.split(' ').next().unwrap_or_default();
    Ok(nanoseconds.parse::<f64>()? / 1e6)
}

/// User and system time in clock ticks, as the process accounts them: 0 when it did next to nothing.
pub(crate) fn ticks(pid: u32) -> Outcome<f64> {
    let stat = stat(pid)?;
    Ok(stat[11].parse::<f64>()? + stat[12].parse::<f64>()?)
}

/// Number of threads.
pub(crate) fn threads(pid: u32) -> Outcome<usize> {
    Ok(stat(pid)?[17].parse()?)
}

/// Fields of `stat` from the third on (the second is a name that may hold spaces).
fn stat(pid: u32) -> Outcome<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').ok_or("an odd /proc/PID/stat")?.1;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

/// How often the threads have gone to sleep, which is how often they were woken.
pub(crate) fn switches(pid: u32) -> Outcome<f64> {
    let mut total = 0.0;
    for task in tasks(pid)? {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status"))?;
        total += field(&status, "\nvoluntary_ctxt_switches:")?;
    }
    Ok(total)
}

fn tasks(pid: u32) -> Outcome<Vec<u32>> {
    let folder = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn field(text: &str, name: &str) -> Outcome<f64> {
    let at = text.find(name).ok_or_else(|| format!("no `{name}` in it"))? + name.len();
    let word = text[at..].split_whitespace().next().unwrap_or_default();
    Ok(word.parse()?)
}
