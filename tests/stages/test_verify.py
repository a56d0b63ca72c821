import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.pruning import passing_rules
from eagleeye_tf.stages import verify


def test_right_cuts(set_flags, capsys):
    set_flags(model=toys.dense_block(), num_strategies=2)
    verify.main()
    shown = capsys.readouterr().out
    assert "|        2 |" in shown and "|        3 |" not in shown
    assert "Every pruned network computes what" in shown


def test_wrong_cuts_end_with_the_layer(set_flags, monkeypatch):
    right = passing_rules.Concatenate.trace

    def swapped(self, call, inputs, labels):
        return right(self, call, inputs[::-1], labels)

    monkeypatch.setattr(passing_rules.Concatenate, "trace", swapped)
    model = toys.dense_block()
    toys.scramble(model)
    set_flags(model=model)
    with pytest.raises(errors.VerificationError, match="3 of 3.*concat0"):
        verify.main()


def test_nothing_to_prune(set_flags):
    set_flags(model="no_such_network")
    with pytest.raises(errors.InputError, match="no model 'no_such_network'"):
        verify.main()


def test_importance_of_images(set_flags):
    set_flags(importance="taylor")
    with pytest.raises(errors.InputError, match="taylor asks for images"):
        verify.main()
