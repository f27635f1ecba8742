"""The settings, one module each; ``load(work)`` gives a :class:`benchmarks.study.setting.Setting`."""
