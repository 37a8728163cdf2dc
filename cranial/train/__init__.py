"""How does a learner learn? One loop for every method, that can be stopped anywhere and resumed.

learner     what does the loop need of a method?
call        with which choices, and what comes back?
loop        what is a step, and what happens between two?
state       what is a run between two steps, and what of it is kept?
processes   how do several devices and processes run the same loop?

Everything random is a function of (seed, step): on the CPU, a run stopped anywhere and resumed equals the run
that was never stopped, to the bit. The tests show this for one player, for two, and after SIGKILL; and that
two CPU processes (gloo) take the step that one takes with two batches. CUDA and NCCL run the same code, but
no test has run them.
"""

from cranial.train.call import train
from cranial.train.learner import Learner, warmup_cosine
from cranial.train.loop import TrainingInterrupted, TrainResult
from cranial.train.state import load_players

__all__ = ["Learner", "TrainResult", "TrainingInterrupted", "load_players", "train", "warmup_cosine"]
