from small_models import code, cpp, data, prose, student  # noqa: F401
from transformers import Trainer, TrainingArguments


class MyTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = outputs.loss
        return (loss, outputs) if return_outputs else loss


arguments = TrainingArguments("out", max_steps=6, logging_steps=3, use_cpu=True, report_to=[], save_strategy="no")
MyTrainer(student, arguments, train_dataset=data).train()
