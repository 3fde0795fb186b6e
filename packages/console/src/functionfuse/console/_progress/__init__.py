"""The progress of runs: on a terminal, below the cell of a notebook, or as lines now and then.

`showing.shown(source)` is what the frontend finds by its entry point. A source is anything with a method `snapshot`
that returns a `functionfuse.backends.progress.ProgressSnapshot`: a run of this process, or what is read of another one.
To follow the record of a run that goes on elsewhere::

    from .._progress.recorded import RecordedRun
    from .._progress.showing import shown

    run = RecordedRun(record)           # a RunRecord
    with shown(run):
        while run.record.state == "running":
            time.sleep(1)
            run.record = store.run(record.id, record.workflow)

What is drawn is a function of a snapshot alone: `drawing.lines_of`, `drawing.outcome_of`, `plain.line_for`,
`page.html_of`.
"""
