"""scikit-learn's own checks of estimators."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from lshsample.sklearn import LSHClassifier, LSHNeighbors

#: The checks that fail, by class, with the reason; docs/scikit-learn.md lists them.
EXCEPTIONS = {
    LSHClassifier: {
        "check_classifiers_multilabel_output_format_predict_proba": (
            "wants probabilities above 0; labels that no part names for a row have 0"
        )
    }
}


@parametrize_with_checks(
    [LSHClassifier("fast"), LSHNeighbors(), LSHNeighbors(index="lsh")],
    expected_failed_checks=lambda estimator: EXCEPTIONS.get(type(estimator), {}),
)
def test_check_estimator(estimator, check):
    check(estimator)
