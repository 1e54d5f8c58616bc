"""How well a checkpoint hears, on labelled audio: `pe-stream eval`.

    promptset.py   what to listen for, in words, and which labels of a manifest are that sound
    truth.py       a manifest and a prompt set to what truly sounds in each file
    scoring.py     files to scores, by the pipeline of `pe-stream detect`
    yamnet.py      the same files to YAMNet's scores
    curves.py      AUROC, average precision, and the curves they come from
    clips.py       figures of clips with weak labels
    events.py      figures of the tracker's events: recall, onset error, false alarms
    standard.py    PSDS and event-based F1, by sed_scores_eval
    strong.py      all figures of audio with strong labels
    hours.py       clips to hours of background, for thresholds
    thresholds.py  whether those calibrated in one hour are right in another
    thresholds_table.py  the same, for people
    report.py      figures to JSON and to a table
    pictures.py    figures to plots
    options.py     what was asked for
    command.py     the command

What it needs beyond the daemon is in the extra `eval`.
"""
