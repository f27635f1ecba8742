"""What makes each setting's arrays: run in the study's own environment, one module a setting.

    python -m benchmarks.study.builders.digits OUTPUT.npz

They need NumPy and the packages of ``requirements.txt``, and nothing of the library.
"""
