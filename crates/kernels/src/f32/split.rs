//! Division of work into tasks.

use std::ops::Range;

pub(super) use crate::pool::part;

/// Minimum number of multiply-adds of a task; with fewer, handing it to a thread costs too much.
const MIN_WORK: usize = 100_000;
/// Number of tasks for each thread where there is enough work, so that uneven tasks even out.
const TASKS_PER_THREAD: usize = 4;

/// Minimum number of rows of a matrix product that is divided between threads by rows.
pub(super) const MANY_ROWS: usize = 100;

/// Returns the number of tasks for `work` multiply-adds.
pub(super) fn tasks(threads: usize, work: usize) -> usize {
    if threads == 1 { 1 } else { (work / MIN_WORK).clamp(1, threads * TASKS_PER_THREAD) }
}

/// The division of a matrix product into tasks of some rows and some panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    rows: usize,
    unit: usize,
    panels: usize,
    row_parts: usize,
    panel_parts: usize,
}

impl Grid {
    /// Divides `rows` rows, in units of `unit` and at most `max_rows` for each task, and `panels`
    /// panels into at least `tasks` tasks if possible. `by_panels` says whether panels are divided
    /// first.
    pub(super) fn new(
        rows: usize,
        unit: usize,
        max_rows: usize,
        panels: usize,
        tasks: usize,
        by_panels: bool,
    ) -> Self {
        let units = rows.div_ceil(unit).max(1);
        let mut row_parts = rows.div_ceil(max_rows.max(unit)).clamp(1, units);
        let mut panel_parts = 1;
        if by_panels {
            panel_parts = tasks.div_ceil(row_parts).clamp(1, panels);
        }
        row_parts = row_parts.max(tasks.div_ceil(panel_parts).min(units));
        panel_parts = panel_parts.max(tasks.div_ceil(row_parts).min(panels));
        Self { rows, unit, panels, row_parts, panel_parts }
    }

    /// As [`Grid::new`], but each task has all panels.
    pub(super) fn of_rows(
        rows: usize,
        unit: usize,
        max_rows: usize,
        panels: usize,
        tasks: usize,
    ) -> Self {
        Self { panels, ..Self::new(rows, unit, max_rows, 1, tasks, false) }
    }

    /// Number of tasks.
    pub(super) fn tasks(&self) -> usize {
        self.row_parts * self.panel_parts
    }

    /// Returns the rows and panels of a task; consecutive tasks have the same panels.
    pub(super) fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let units = self.rows.div_ceil(self.unit);
        let rows = part(units, self.row_parts, task % self.row_parts);
        let panels = part(self.panels, self.panel_parts, task / self.row_parts);
        (rows.start * self.unit..(rows.end * self.unit).min(self.rows), panels)
    }

    /// Maximum number of rows of a task.
    pub(super) fn max_rows(&self) -> usize {
        (self.rows.div_ceil(self.unit).div_ceil(self.row_parts) * self.unit).min(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
                fn tasks_cover_all_rows_and_panels_once(
            rows in 1_usize..300, unit in 1_usize..15, max_rows in 1_usize..400,
            panels in 1_usize..20, tasks in 1_usize..40, by_panels: bool,
        ) {
            let grid = Grid::new(rows, unit, max_rows, panels, tasks, by_panels);
            let mut counts = vec![0; rows * panels];
            for task in 0..grid.tasks() {
                let (r, p) = grid.task(task);
                prop_assert!(r.len() <= grid.max_rows());
                for row in r {
                    for panel in p.clone() {
                        counts[row * panels + panel] += 1;
                    }
                }
            }
            prop_assert!(counts.iter().all(|&c| c == 1));
            prop_assert!(grid.max_rows() <= max_rows.max(unit).next_multiple_of(unit));
        }
    }
}
