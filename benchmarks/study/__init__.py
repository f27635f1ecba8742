"""The catalogue of weighting rules on real settings, clean and with one teacher corrupted.

Four settings whose teachers differ for real: three language models on text (``text``), seven language detectors on
24 languages (``language_id``), four classifiers on digits (``digits``), and the same kinds of classifier on two tasks
with two heads (``multitask``); beside them four spam filters of a package, one of them wrong more often than not
(``spam``).
Every arm of a setting has the same students, batches, steps and distillation mass; five paired seeds.

    python -m benchmarks.study --fetch            # once: packages and teachers' outputs, into an ignored folder
    python -m benchmarks.study --minutes 60       # resumes; writes benchmarks/results/study.{json,md} and plots

In order: ``fetch`` and ``settings`` give data and teachers, ``corruption`` spoils one teacher, ``arms`` lists what is
compared, ``loop`` trains one cell by ``schedule`` and evaluates it under ``watch``, ``plan`` fits cells into the time,
``harness`` runs and resumes, ``statistics`` and ``summary`` turn cells into numbers, ``tables`` and ``plots`` show
them.
"""
