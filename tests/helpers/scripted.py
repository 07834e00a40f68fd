"""Scripts of whole episodes that answer 98+45 with one subtask."""

ROOT = "9 8 + 4 5"
CHILD = "8 9 + 5 4"
CALL = f"<think> <call> {CHILD} </call> "
RIGHT_CHILD = "<think> 3 1 4 1 </think> 3 4 1 <eos> "
WRONG_CHILD = "<think> 3 1 4 1 </think> 3 4 2 <eos> "
