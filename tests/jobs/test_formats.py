"""The page of formats: each of its rows about weights and models is held by a test."""

# ruff: noqa: E501, the words are those of the page

import re
from pathlib import Path

from tests.jobs.test_converted_models import LEFT
from tests.jobs.test_onnx_models import REFUSED, REFUSED_ELSEWHERE
from worker.onnx_graph import OPERATORS

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "safetensors": "test_safetensors_are_read_as_they_are",
    "`.pt`, `.pth` of `torch.save`, zip or older": "test_a_state_dict_is_found_in_a_checkpoint",
    "several networks: `state_dict` and `state_dict_ema`, `model` and `ema`, `model.` and `ema_model.` before the names": "test_of_two_networks_in_a_checkpoint_the_file_asks_which",
    "optimiser, schedule, scaler, `n_averaged`, counters, arguments (`Namespace`), numbers of NumPy": "test_arguments_and_numbers_of_numpy_beside_the_weights_are_left_out",
    "a bit that has tipped over in a zip": "test_a_bit_that_tipped_over_is_damage_and_a_file_without_checksums_is_none",
    "a file that ends early": "test_a_file_that_ends_early_is_damaged",
    "an adapter (LoRA), quantised weights with their scales, names of `transformers`": "test_weights_that_are_told_by_their_names_say_so",
    "a pickle that `torch.save` did not write": "test_a_pickle_of_arrays_has_a_way_out",
    "a pickled model, anything else that needs code to be read": "test_what_is_no_state_dict_is_refused",
    "TorchScript, `.pt2` of `torch.export`": "test_what_a_zip_is_instead_of_weights_is_named",
    "ONNX": "test_a_network_that_was_exported_is_a_white_box_with_the_same_gradient",
    "`.npz`, `.npy`": "test_what_another_file_is_instead_of_weights_is_named",
    "`.keras`, HDF5, TensorFlow's SavedModel, TensorFlow Lite": "test_what_another_file_is_instead_of_weights_is_named",
    "GGUF, quantised codes": "test_weights_that_do_not_fit_are_named",
    "gzip, xz, zstd, 7-Zip, RAR, tar, a zip with files of weights": "test_what_another_file_is_instead_of_weights_is_named",
    "a Git LFS pointer, a web page, a JSON index or configuration": "test_what_another_file_is_instead_of_weights_is_named",
}
ONNX = {
    "one input `N×3×H×W` or `N×H×W×3` of float16, float32, float64 or uint8": "test_it_is_asked_as_it_wants_to_be",
    "H and W other than the dataset's": "test_what_is_refused",
    "any number of images at once, or a fixed one": "test_it_is_asked_as_it_wants_to_be",
    "a batch that is said to be open, and fails with several images": "test_it_is_asked_as_it_wants_to_be",
    "`Image.NominalPixelRange` among its properties; an input of bytes": "test_normalisation_is_given_in_units_of_0_to_1",
    "nothing about pixels": "test_what_nobody_said_is_asked",
    "no normalisation given, and none in its properties": "test_a_file_becomes_a_black_box_that_answers_as_it_does",
    "one output of scores, `N×K`": "test_the_output_that_is_named_is_taken",
    "probabilities: never negative on test images, with a sum of 1": "test_probabilities_are_known_and_their_logarithms_taken",
    "outputs and classes": "test_outputs_are_mapped_as_those_of_weights_are",
    "float32, and operators among those below": "test_a_network_that_was_exported_is_a_white_box_with_the_same_gradient",
    "a last linear layer": "test_the_head_is_found_where_there_is_one",
    "another end, such as a convolution and an average": "test_without_a_linear_layer_it_gives_gradients_and_no_features",
    "a last softmax, or a sigmoid of one output": "test_of_probabilities_the_logits_before_them_are_taken",
    "a number of images in its shapes, which is one": "test_its_gradient_is_by_the_pixels_of_the_lab",
    **dict.fromkeys(LEFT, "test_what_is_not_shown_to_be_the_same_stays_a_black_box_and_says_why"),
    "a network that is wanted as a black box": "test_whoever_wants_a_black_box_gets_one",
    **dict.fromkeys(REFUSED, "test_what_is_refused"),
    **REFUSED_ELSEWHERE,
}
ADDRESSES = {
    "an address that `LAB_ENDPOINTS` does not list, or no longer does": "test_an_address_that_is_not_listed_is_never_asked",
    "a name that leads to a private place": "test_a_name_leads_to_public_places_or_listed_networks",
    "a redirect": "test_a_redirect_is_not_followed",
    "rows of scores, or of probabilities": "test_what_it_answers_with_is_seen",
    "numbers or names of classes alone": "test_labels_alone_are_attacked_by_hop_skip_jump",
    "a label that is none of the classes; labels of more classes than the dataset has": "test_answers_of_other_classes_are_refused",
    "408, 425, 429, 500, 502, 503, 504, a broken connection, silence": "test_what_passes_is_tried_again",
    "other states, JSON of another shape, other numbers of answers, NaN": "test_answers_that_are_none_are_refused_in_words",
    "other answers than on the day of the import": "test_another_model_in_its_place_is_noticed",
    "other answers each time": "test_one_that_answers_otherwise_each_time_is_told",
    "an evaluation that could ask about more images than the budget": "test_no_evaluation_begins_that_could_ask_too_much",
}
NAMES = {
    "any beginning that all of the network's names share: `module.`, `model.`, `1.`, `backbone.whatever.`": "test_prefixes_are_recognised",
    "`_orig_mod`, `_fsdp_wrapped_module`, `_checkpoint_wrapped_module`, `_forward_module`, anywhere in a name": "test_wrappers_within_names_are_left_out_of_them",
    "`mean`/`std`, `mu`/`sigma`, `means`/`stds`, `new_mean`/`new_std`, `pixel_mean`/`pixel_std`, anywhere; shapes `3`, `1×3`, `3×1×1`, `1×3×1×1`, one number, or an image of one number a channel": "test_a_normalisation_of_one_number_or_of_a_whole_image_is_one_of_channels",
    "`nn.Sequential(Normalize, net)`; `normalize.` beside `model.`": "test_a_normalisation_inside_is_read_and_used",
    "`normalizer.` with copies under `attacker.` (Madry's group)": "test_copies_for_the_attack_are_the_same_network",
    "two normalisations that differ; half of one; another number at every pixel": "test_two_normalisations_that_differ_are_a_question",
    "entries called `mean` and `std` beside the state dict; a mean below 0": "test_a_normalisation_beside_the_weights_is_a_question",
    "a normalisation noted in `config`, `args`, `hparams`, `default_cfg`, a transform's text or metadata of safetensors, and none in the network": "test_a_normalisation_noted_beside_the_weights_is_a_question",
    "such a note against the normalisation in the network": "test_a_normalisation_noted_against_that_of_the_network_is_said",
    "a variance: `var`, `variance`, `pixel_var` beside a mean": "test_a_variance_is_read_as_one_and_said",
    "a range of pixels in a configuration (`input_range: [0, 255]`); lists of weights without names (`ema.shadow_params`, `master_params`)": "test_a_range_of_pixels_and_an_average_without_names_are_said",
    "`channel_order: bgr` and the like in a configuration; `to_rgb: False`": "test_blue_before_red_by_a_configuration_is_refused_or_said",
    "a normalisation in grey levels (`123.7`, …)": "test_a_normalisation_of_grey_levels_is_refused_and_taken_when_given",
    "none, in the file or with the import": "test_without_a_normalisation_the_log_says_what_that_means",
    "a mean or a standard deviation given above 1": "test_a_normalisation_in_grey_levels_is_refused_at_its_field",
    "a second network or other weights beside the one that fits": "test_a_network_beside_another_one_is_named",
}
NETWORKS = {
    "`wrn-<d>-<k>`": "test_a_first_stage_that_no_forward_pass_uses_is_left_out",
    "`dm-wrn-<d>-<k>`": "test_published_weights_give_the_published_logits",
    "`resnet-18`, `-34`, `-50`, `-101`, `-152`": "test_published_weights_give_the_published_logits",
    "`preactresnet-18`": "test_published_weights_give_the_published_logits",
    "`vgg-11`, `-13`, `-16`, `-19`": "test_published_weights_give_the_published_logits",
    "`timm:<name>`, also with a tag (`timm:resnet18.a1_in1k`)": "test_any_network_with_a_linear_head_gives_timms_logits",
    "… of torchvision's own names: VGG with and without batch norm, ViT, EfficientNet": "test_logits_are_those_of_torchvision",
    "… with a class token (ViT, DeiT, DeiT III)": "test_live_its_attention_is_its_own",
    "… any other with one linear head (ConvNeXt, Swin, mixers)": "test_a_network_without_a_map_says_so",
    "… with two heads (distilled DeiT)": "test_what_has_no_linear_head_is_refused",
    "a file that does not fit": "test_a_mismatch_names_the_architecture_that_fits",
    "weight norm, spectral norm, pruning": "test_weights_in_parts_are_named_as_such",
    "a position embedding for another image size": "test_a_position_embedding_of_another_image_size_names_the_size",
}
CLASSES = {
    "as many outputs as classes": "test_a_head_of_another_order_of_classes_is_sorted",
    "an order that nobody gave and that does not fit": "test_an_order_that_nobody_gave_is_found_by_measuring",
    "names of classes beside the weights (`classes`, `class_to_idx`, `id2label`), in a configuration, too": "test_classes_beside_the_weights_are_said",
    "more outputs than classes": "test_more_outputs_than_classes_need_a_mapping",
    "1,000 outputs and classes that are WordNet numbers or ImageNet's names": "test_a_head_for_imagenet_is_mapped_by_the_names_of_the_classes",
    "one output, two classes": "test_one_output_tells_two_classes_apart",
    "fewer outputs than classes": "test_weights_that_do_not_fit_are_named",
    "**evaluating** on the model's classes in another order, or on some of them": "test_classes_that_were_found_by_name_are_said",
    "evaluating on a class that the model does not know": "test_a_class_that_the_model_does_not_know_is_refused_by_name",
}
TABLES = (FILES, ONNX, ADDRESSES, NAMES, NETWORKS, CLASSES)


def test_the_page_names_the_operators_that_are_computed() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    found = re.search(r"^Computed are: (.*?);", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    own = {name for name in OPERATORS if "-" not in name}
    assert re.split(r",\s+", found[1]) == sorted(own | {"Constant"})


def test_every_row_about_weights_is_held_by_a_test() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page, flags=re.MULTILINE)[2]
    assert section.startswith("Weights and models")
    rows = re.findall(r"^\| (.*?) \|.*\|\n(?!\|---)", section, re.MULTILINE)
    assert rows == [row for table in TABLES for row in table]
    tests: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tests.update(re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE))
    assert {test for table in TABLES for test in table.values()} <= tests
