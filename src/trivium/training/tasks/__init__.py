"""Kinds of data behind one interface: text, labelled examples, and whatever a user registers.

A task is one file: a class with the methods of :class:`Task`, and ``register("name", YourTask())`` or, in a recipe,
``data.kind: FILE.py:NAME``.
"""

from trivium.training.tasks.base import TASKS, Materials, Tables, Task, register, task_files, task_of
from trivium.training.tasks.examples import ExamplesTask
from trivium.training.tasks.text import TextTask

register("text", TextTask())
register("examples", ExamplesTask())

__all__ = ["TASKS", "ExamplesTask", "Materials", "Tables", "Task", "TextTask", "register", "task_files", "task_of"]
