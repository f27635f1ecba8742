"""What a run shows: one HTML page that works offline, and the tables of the command line.

A report reads the files of a run folder and nothing else, so it can be written again at any time, on any machine.
"""

from trivium.report.console import accuracy_table, comparison_table, difference_table
from trivium.report.data import data_lines, data_table
from trivium.report.write import write_report

__all__ = ["accuracy_table", "comparison_table", "data_lines", "data_table", "difference_table", "write_report"]
