import digit_models
import pytest


@pytest.fixture(scope="module")
def model():
    return digit_models.trained()


@pytest.fixture(scope="module")
def images():
    return digit_models.for_training()[0][:40]


@pytest.fixture(scope="module")
def examples():
    pictures, labels = digit_models.for_test()
    return pictures[:50], labels[:50]
