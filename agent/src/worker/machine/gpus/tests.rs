use super::*;

fn three() -> Vec<Gpu> {
    ["GPU-aaaa0000-1", "GPU-bbbb0000-2", "GPU-cccc0000-3"]
        .into_iter()
        .enumerate()
        .map(|(at, uuid)| Gpu {
            uuid: Some(uuid.into()),
            ..Gpu::of(Maker::Nvidia, at.to_string())
        })
        .collect()
}

fn ids(gpus: &[Gpu]) -> Vec<&str> {
    gpus.iter().map(|gpu| gpu.id.as_str()).collect()
}

fn given(variables: &[(&str, &str)]) -> Given {
    Given::read(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn a_makers_variable_says_which_may_be_used() {
    let chosen = |value| given(&[("CUDA_VISIBLE_DEVICES", value)]).choose(&three());
    assert_eq!(ids(&given(&[]).choose(&three())), ["0", "1", "2"]);
    assert_eq!(ids(&chosen("2, 0")), ["2", "0"]);
    assert_eq!(ids(&chosen("GPU-bbbb0000")), ["GPU-bbbb0000"]);
    assert_eq!(chosen("GPU-bbbb0000")[0].uuid.as_deref(), Some("GPU-bbbb0000-2"));
    assert_eq!(ids(&chosen("MIG-1,MIG-2")), ["MIG-1", "MIG-2"]);
    assert_eq!(
        ids(&chosen("1,-1,2")),
        ["1"],
        "the first that cannot be ends the list"
    );
    for none in ["", "-1", "NoDevFiles", "0,0"] {
        assert_eq!(chosen(none), [], "{none:?}");
    }
}

#[test]
fn what_a_job_was_not_given_is_others() {
    let job = ("SLURM_JOB_ID", "7");
    assert_eq!(given(&[job]).choose(&three()), []);
    assert_eq!(
        ids(&given(&[job, ("SLURM_JOB_GPUS", "0,2")]).choose(&three())),
        ["0", "2"]
    );
    assert_eq!(
        ids(&given(&[job, ("SLURM_JOB_GPUS", "1-2")]).choose(&three())),
        ["1", "2"]
    );
    assert_eq!(
        ids(&given(&[job, ("SLURM_JOB_GPUS", "4,5,6")]).choose(&three())),
        ["0", "1", "2"],
        "it sees no others"
    );
    let both = [
        ("SGE_ROOT", "/sge"),
        ("JOB_ID", "4"),
        ("SGE_HGR_gpu", "0 1"),
        ("CUDA_VISIBLE_DEVICES", "1"),
    ];
    assert_eq!(
        ids(&given(&both).choose(&three())),
        ["1"],
        "the maker's own is exact"
    );
    let unseen = given(&[job, ("ROCR_VISIBLE_DEVICES", "0,1")]).choose(&three());
    assert_eq!(
        unseen,
        ["0", "1"].map(|id| Gpu::of(Maker::Amd, id)),
        "a job's word counts where no tool is"
    );
    assert_eq!(given(&[("ROCR_VISIBLE_DEVICES", "0,1")]).choose(&[]), []);
}

#[test]
fn workers_of_one_host_do_not_offer_the_same() {
    let numbers = |wanted, number, of| -> Vec<u32> {
        let offered = offered(&three(), wanted, Part { number, of });
        offered.iter().map(|offered| offered.number).collect()
    };
    assert_eq!(numbers(None, 0, 1), [0, 1, 2]);
    assert_eq!((numbers(None, 0, 2), numbers(None, 1, 2)), (vec![0], vec![1, 2]));
    assert_eq!(
        (numbers(Some(1), 0, 2), numbers(Some(1), 1, 2)),
        (vec![0], vec![1])
    );
    assert_eq!(numbers(Some(0), 1, 2), [0_u32; 0]);
    let more = offered(&three(), Some(4), Part::WHOLE);
    assert_eq!(more.len(), 4);
    assert!(more.iter().all(|offered| offered.gpu.maker.is_none()));
    let parts = (0..3).map(|number| Part { number, of: 3 }.amount(100));
    assert!(parts.sum::<u64>() <= 100);
}
