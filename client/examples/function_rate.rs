//! How many calls a second a pilot makes of a function that does nothing: `function_rate PILOT-DIRECTORY PYTHON MODULES [COUNT]`.

use std::time::Instant;

use scalems_client::{Session, Task, wait_all};
use serde::Serialize;

/// Round trips that the mean is of.
const TRIPS: u32 = 200;

#[derive(Serialize)]
struct Call<'a> {
    function: &'a str,
    python: &'a str,
    path: Vec<&'a str>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [pilot, python, modules, rest @ ..] = words.as_slice() else {
        return Err("give a pilot's directory, a Python, and where scalems_pilot is".into());
    };
    let count: u32 = rest.first().map_or(Ok(100_000), |count| count.parse())?;
    let session = Session::connect(pilot)?;
    let call = Call {
        function: "builtins:bool",
        python,
        path: modules.split(':').collect(),
    };
    let task = Task::new("task.function").body(rmp_serde::to_vec_named(&call)?);
    // [[]]: no arguments.
    let one = || task.with_data(vec![0x91, 0x90]);
    session.submit(one())?.wait(None)?;
    let begun = Instant::now();
    for _ in 0..TRIPS {
        session.submit(one())?.wait(None)?.into_value()?;
    }
    println!("round trip: {:?}", begun.elapsed() / TRIPS);
    for _ in 0..3 {
        let begun = Instant::now();
        let handles: Vec<_> = (0..count)
            .map(|_| session.submit(one()))
            .collect::<Result<_, _>>()?;
        wait_all(&handles, None)?;
        println!("{:.0} calls/s", f64::from(count) / begun.elapsed().as_secs_f64());
    }
    Ok(())
}
