//! A filter in Rust, for tests: it halves numbers, splits lists, and refuses, fails and panics as a task's name says.

use scalems_client::filter::{Fault, Filter, Filtered, FilteredResult, Part, Verdict, serve, the_only};

struct Halving;

fn numbers(data: &[u8]) -> Result<Vec<u64>, Fault> {
    Ok(rmp_serde::from_slice(data)?)
}

impl Filter for Halving {
    fn task(&mut self, task: &Filtered) -> Result<Verdict, Fault> {
        let part = &task.part;
        match part.template.name.as_deref() {
            Some("refuse") => Err(Fault::refused("it is not to be")),
            Some("fail") => numbers(b"\xc0").map(|_| Verdict::default()),
            Some("panic") => panic!("it was too much"),
            Some("split") => {
                let one = |number: u64| -> Result<Part, Fault> {
                    Ok(Part {
                        data: rmp_serde::to_vec(&[number / 2])?,
                        ..part.clone()
                    })
                };
                Ok(Verdict {
                    tasks: numbers(&part.data)?
                        .into_iter()
                        .map(one)
                        .collect::<Result<_, _>>()?,
                    ..Verdict::default()
                })
            }
            _ => Ok(Verdict::one(part.clone())),
        }
    }

    fn result(&mut self, task: &Filtered, results: Vec<FilteredResult>) -> Result<FilteredResult, Fault> {
        if task.part.template.name.as_deref() != Some("split") {
            return the_only(task, results);
        }
        let mut all = Vec::new();
        for result in &results {
            all.extend(numbers(&result.value)?);
        }
        let first = results
            .into_iter()
            .next()
            .ok_or_else(|| Fault::refused("there is nothing"))?;
        Ok(FilteredResult {
            value: rmp_serde::to_vec(&all)?,
            ..first
        })
    }
}

fn main() -> std::io::Result<()> {
    serve(&mut Halving)
}
