import copy
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

from tdro.tasks.task import Task


def test_a_task_is_pickled_as_the_place_it_was_prepared_in(training_tasks):
    task = replace(training_tasks[0].task, instruction="Another instruction")
    assert len(ForkingPickler.dumps(task)) < 500
    again = copy.deepcopy(task)
    assert isinstance(again, Task)
    assert (again.name, again.instruction, again.content) == (
        task.name,
        "Another instruction",
        task.content,
    )
    assert again.queries["text"][:] == task.queries["text"][:]
    assert again.positives[0].tolist() == task.positives[0].tolist()
