//! How work is divided between tasks.

use std::ops::Range;

pub(super) use crate::pool::part;

/// Below this many multiply-adds a task is not worth handing over.
const LEAST_WORK: usize = 100_000;
/// Tasks a thread gets where there is enough work, so that an uneven division evens out.
const TASKS_PER_THREAD: usize = 4;

/// From so many rows on, threads share a product by rows.
pub(super) const MANY_ROWS: usize = 100;

/// How many tasks to make of `work` multiply-adds.
pub(super) fn tasks(threads: usize, work: usize) -> usize {
    if threads == 1 { 1 } else { (work / LEAST_WORK).clamp(1, threads * TASKS_PER_THREAD) }
}

/// A matrix product cut into tasks: some rows by some panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    rows: usize,
    unit: usize,
    panels: usize,
    row_parts: usize,
    panel_parts: usize,
}

impl Grid {
    /// Cuts `rows` rows, in units of `unit` and at most `most_rows` at once, by `panels` panels
    /// into at least `tasks` parts where there are as many. `by_panels` says which to cut first.
    pub(super) fn new(
        rows: usize,
        unit: usize,
        most_rows: usize,
        panels: usize,
        tasks: usize,
        by_panels: bool,
    ) -> Self {
        let units = rows.div_ceil(unit).max(1);
        let mut row_parts = rows.div_ceil(most_rows.max(unit)).clamp(1, units);
        let mut panel_parts = 1;
        if by_panels {
            panel_parts = tasks.div_ceil(row_parts).clamp(1, panels);
        }
        row_parts = row_parts.max(tasks.div_ceil(panel_parts).min(units));
        panel_parts = panel_parts.max(tasks.div_ceil(row_parts).min(panels));
        Self { rows, unit, panels, row_parts, panel_parts }
    }

    /// As [`Grid::new`], but no task has only some of the panels.
    pub(super) fn of_rows(
        rows: usize,
        unit: usize,
        most_rows: usize,
        panels: usize,
        tasks: usize,
    ) -> Self {
        Self { panels, ..Self::new(rows, unit, most_rows, 1, tasks, false) }
    }

    pub(super) fn tasks(&self) -> usize {
        self.row_parts * self.panel_parts
    }

    /// The rows and panels of a task; tasks that follow each other share the panels.
    pub(super) fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let units = self.rows.div_ceil(self.unit);
        let rows = part(units, self.row_parts, task % self.row_parts);
        let panels = part(self.panels, self.panel_parts, task / self.row_parts);
        (rows.start * self.unit..(rows.end * self.unit).min(self.rows), panels)
    }

    /// The most rows that a task has.
    pub(super) fn most_rows(&self) -> usize {
        (self.rows.div_ceil(self.unit).div_ceil(self.row_parts) * self.unit).min(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_grid_covers_everything_once(
            rows in 1_usize..300, unit in 1_usize..15, most_rows in 1_usize..400,
            panels in 1_usize..20, tasks in 1_usize..40, by_panels: bool,
        ) {
            let grid = Grid::new(rows, unit, most_rows, panels, tasks, by_panels);
            let mut counts = vec![0; rows * panels];
            for task in 0..grid.tasks() {
                let (r, p) = grid.task(task);
                prop_assert!(r.len() <= grid.most_rows());
                for row in r {
                    for panel in p.clone() {
                        counts[row * panels + panel] += 1;
                    }
                }
            }
            prop_assert!(counts.iter().all(|&c| c == 1));
            prop_assert!(grid.most_rows() <= most_rows.max(unit).next_multiple_of(unit));
        }
    }
}
