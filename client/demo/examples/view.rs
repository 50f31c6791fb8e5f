//! throwaway
use scalems_demo::*;
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let (a, b) = (analyse(&dir, 1).unwrap(), analyse(&dir, 2).unwrap());
    let mut spans = vec![];
    let mut clock = [0.35f64, 0.37, 0.36];
    let mut queue: std::collections::VecDeque<(u32, u32, u32)> = (0..64).map(|w| (w, 1, 1)).collect();
    queue.extend((0..64).map(|w| (w, 2, 1)));
    let (mut dead, mut i) = (false, 0u32);
    let mut retry = vec![];
    while let Some((w, g, at)) = queue.pop_front() {
        let n = if dead { vec![0usize, 2] } else { vec![0usize, 1] };
        let k = *n.iter().min_by(|x, y| clock[**x].total_cmp(&clock[**y])).unwrap();
        i += 1;
        let d = 0.135 + 0.02 * ((i * 37 % 11) as f64 / 11.0);
        let s = clock[k];
        let lost = !dead && k == 1 && s > 3.3;
        let e = if lost { s + 0.08 } else { s + d };
        spans.push(Span { worker: format!("worker {}", k + 1), window: w, generation: g, attempt: at, start_s: s, end_s: e, lost });
        clock[k] = e + 0.004;
        if lost { dead = true; clock[2] = e + 1.2; retry.push((w, g, at + 1)); }
        if !retry.is_empty() && dead && clock[0] > 4.0 { queue.push_front(retry.pop().unwrap()); }
    }
    if std::env::args().nth(2).is_some() {
        let old = std::mem::take(&mut spans);
        for k in 0..24u32 {
            for s in &old {
                if s.worker != "worker 1" || (s.window + k) % 3 == 0 || (k > 3 && k < 20 && s.lost) { continue; }
                if k == 2 && s.start_s > 5.0 { continue }
                spans.push(Span { worker: format!("nid{:05}-a-long-host {}", 1000 + k, k), lost: k == 2 && s.start_s > 4.85, ..s.clone() });
                if k == 3 || k == 0 { spans.push(Span { worker: format!("nid{:05}-a-long-host {}", 1000 + k, k), start_s: s.start_s + 0.05, end_s: s.end_s + 0.07, ..s.clone() }) }
            }
        }
    }
    let p = Picture::draw(&[&a, &b], &spans).unwrap();
    std::fs::write(dir.join("v.svg"), p.svg()).unwrap();
    std::fs::write(dir.join("v.png"), p.png(1.4).unwrap()).unwrap();
}
