//! Batches, assembled ahead of use: while a step computes, a thread of its own gathers the next rows from the mapped file
//! and indexes their ids.

use std::ops::Range;
use std::sync::mpsc::{channel, sync_channel};

use super::StageError;
use crate::data::Rows;
use crate::nn::{Assembled, Batch, BatchSlot};
use crate::tensor::Kernels;

/// Batches that exist on the host at a time: one ready, one being assembled. One more is on its way to the device.
const AHEAD: usize = 2;

/// Runs `work` on one batch after the other, each cut into `parts`: the rows `order[range]` for each range (or the rows
/// `range`, without an order).
///
/// # Errors
/// The first error of `work`, which ends the loop.
pub fn for_each_batch<D: Kernels>(
    slot: &mut BatchSlot<D>,
    rows: &Rows,
    order: Option<&[u32]>,
    (ranges, parts): (&[Range<usize>], usize),
    mut work: impl FnMut(&[Batch<D>], &Range<usize>) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let layout = slot.layout().clone();
    let (ready, assembled) = sync_channel::<Vec<Assembled>>(AHEAD - 1);
    let (give_back, empty) = channel();
    for _ in 0..AHEAD {
        // the receiver lives until the end of this function
        let _ = give_back.send(Assembled::default());
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut every = Vec::new();
            // either channel ends with the loop below
            for (range, mut whole) in ranges.iter().zip(empty) {
                let indices = match order {
                    Some(order) => &order[range.clone()],
                    None => {
                        every.clear();
                        every.extend(range.start as u32..range.end as u32);
                        &every
                    }
                };
                rows.gather(indices, &mut whole.raw);
                whole.index(&layout);
                let parts = if parts > 1 { whole.parts(parts) } else { vec![whole] };
                if ready.send(parts).is_err() {
                    break;
                }
            }
        });
        let mut assembled = ranges.iter().zip(assembled);
        let mut place = |slot: &mut BatchSlot<D>| {
            let (range, mut parts) = assembled.next()?;
            let before = slot.take_ids().into_iter().next().unwrap_or_default();
            slot.place(&mut parts);
            let raw = parts.swap_remove(0).raw;
            let _ = give_back.send(Assembled { raw, ids: before });
            Some(range)
        };
        let mut next = place(slot);
        slot.arrive();
        while let Some(range) = next {
            slot.advance();
            next = place(slot);
            let worked = work(slot.current(), range);
            slot.arrive();
            // what comes after a fault is not to be believed, whatever the work makes of it
            if let Some(fault) = slot.device().fault() {
                return Err(fault.into());
            }
            worked?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Field, Parts, Schema, batches};
    use crate::tensor::gpu::emulated::Emulated;
    use crate::tensor::{Cpu, FieldLayout};

    fn rows(count: u32) -> (Schema, Rows) {
        let schema = Schema {
            fields: vec![Field { name: "a".into(), size: count as usize, out_of_vocabulary: None }],
            numerical: vec!["x".into()],
            tasks: vec!["click".into()],
        };
        let parts = Parts {
            categorical: (0..count).collect(),
            numerical: (0..count).map(|row| row as f32).collect(),
            labels: (0..count).map(|row| (row % 2) as u8).collect(),
            ..Parts::default()
        };
        let rows = Rows::from_parts(&schema, parts).unwrap();
        (schema, rows)
    }

    fn layout(schema: &Schema) -> FieldLayout {
        FieldLayout::new(schema.fields.iter().map(|field| field.size), 4)
    }

    fn slot(schema: &Schema) -> BatchSlot<Cpu> {
        BatchSlot::new(&Cpu::default(), layout(schema))
    }

    #[test]
    fn every_row_comes_once_in_the_order_given() {
        let (schema, rows) = rows(25);
        let order: Vec<u32> = (0..25).rev().collect();
        for (order, expected) in [(Some(&order[..]), order.clone()), (None, (0..25).collect())] {
            let mut seen = Vec::new();
            for_each_batch(&mut slot(&schema), &rows, order, (&batches(25, 4), 1), |batch, range| {
                let [batch] = batch else { panic!("one part") };
                let numerical = batch.numerical.as_vec();
                assert_eq!((batch.rows, numerical.len()), (range.len(), range.len()));
                let ids: Vec<u32> = (0..batch.rows).map(|b| batch.ids.rows[batch.ids.sample(b)[0] as usize]).collect();
                assert_eq!(ids.iter().map(|&id| id as f32).collect::<Vec<_>>(), numerical);
                assert_eq!(batch.labels[0].as_vec(), ids.iter().map(|id| (id % 2) as f32).collect::<Vec<_>>());
                seen.extend(ids);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_first_error_ends_the_loop() {
        let (schema, rows) = rows(100);
        let mut worked = 0;
        let outcome = for_each_batch(&mut slot(&schema), &rows, None, (&batches(100, 4), 1), |_, range| {
            worked += 1;
            if range.start < 8 { Ok(()) } else { Err(StageError::Interrupted) }
        });
        assert!(matches!(outcome, Err(StageError::Interrupted)));
        assert_eq!(worked, 3);
    }

    #[test]
    fn a_faulty_device_ends_the_loop_whatever_the_work_makes_of_it() {
        let Some(gpu) = Emulated::open() else { return };
        let (schema, rows) = rows(100);
        let mut slot = BatchSlot::new(&gpu, layout(&schema));
        gpu.fail_after(3);
        let mut worked = 0;
        let outcome = for_each_batch(&mut slot, &rows, None, (&batches(100, 4), 1), |_, _| {
            worked += 1;
            gpu.zeros(10);
            if worked < 3 { Ok(()) } else { Err(StageError::Interrupted) }
        });
        let Err(StageError::Failed { message, .. }) = outcome else { panic!("a fault") };
        assert_eq!((message.as_str(), worked), ("a pretended fault", 3));
    }
}
