import os
import pathlib
import subprocess
import sys

# On the path of what is run here, which then does without TensorFlow.
STAGES = pathlib.Path(__file__).parents[2] / "eagleeye_tf" / "stages"
CHILD = """
import os, sys, time
import processes
processes.end_with_parent()
print(os.getpid(), flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(7)
"""
PARENT = """
import sys
import processes
sys.exit(processes.run("child", sys.argv[1:]))
"""


def parent(folder, seconds):
    (folder / "child.py").write_text(CHILD)
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(seconds)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(STAGES)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_exit_code_of_a_program_is_returned(tmp_path):
    process = parent(tmp_path, 0)
    process.communicate(timeout=60)
    assert process.returncode == 7


def test_killed_parent_takes_its_child_along(tmp_path):
    process = parent(tmp_path, 600)
    child = int(process.stdout.readline())
    os.kill(child, 0)  # It lives.
    process.kill()
    # The pipe ends once the child, which holds it open, is gone.
    assert process.communicate(timeout=20)[0] == ""
