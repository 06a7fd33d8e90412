"""The page of formats: each of its rows about datasets is held by a test."""

# ruff: noqa: E501, the words are those of the page

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST_OF = {
    "`train` and `test`, by any of their names (`training`, `testing`, `eval`, `evaluation`, `holdout`, …)": "test_parts_by_any_of_their_names",
    "a validation folder beside them (`val`, `valid`, `validation`, `dev`)": "test_a_validation_part_is_used_as_such",
    "`train` and a validation folder alone": "test_a_validation_part_alone_is_the_test_part_and_said",
    "`test` alone": "test_a_test_part_alone_is_for_evaluation",
    "`train` alone, or no parts": "test_train_alone_is_split",
    "`seg_train/seg_train/forest`, `seg_pred`": "test_parts_within_folders_of_their_own_name_and_pictures_to_predict",
    "`test` with pictures and no class folders": "test_a_flat_test_part_has_no_labels_and_is_said",
    "a part whose pictures are all of a format that is not read, such as HEIC": "test_a_part_without_a_picture_that_is_read_is_not_forgotten",
    "other folders beside the parts, such as `sample` or classes": "test_parts_beside_classes_are_said",
    "pictures of no part beside those of parts: `extra` in a tar of samples or among shards, `public` in a table's column of parts": "test_pictures_in_no_part_beside_parts_are_training_images_and_said",
    "samples, rows and shards to predict (`pred`, `unlabelled`)": "test_samples_to_predict_are_left_out_and_counted",
    "folders that hold the same subfolders, two folders for one part, parts in several places, `images` beside `masks`": "test_parts_are_never_taken_for_classes",
    "parts in one folder, other pictures beside it": "test_parts_in_one_of_several_folders_are_said",
    "lists such as `meta/train.txt` and `meta/test.txt` beside class folders": "test_parts_by_lists",
    "`train_test_split.txt` and the like": "test_a_split_that_is_not_used_is_said",
    "folders such as `cat_train` and `cat_test` with pictures right in them": "test_parts_within_the_names_of_folders_are_no_classes",
    "a folder `test` among class folders, with pictures right in it": "test_a_class_with_the_name_of_a_part_is_said",
    "folders called `part_1`, `fold2`, …": "test_folders_numbered_like_shares_are_said",
    "class folders": "test_every_image_gets_its_class_and_its_part",
    "a folder called like a part (`kaggle_simpson_testset`) beside others that hold folders of pictures": "test_a_part_beside_folders_of_pictures_is_no_class",
    "class folders with folders of pictures in them (`a/abbey`, `a/airport`)": "test_folders_within_class_folders_are_said",
    "class folders that each hold one folder of the same name (`siteA/cat`, `siteB/cat`)": "test_one_folder_of_the_same_name_in_each_class_is_said",
    "Tiny ImageNet": "test_tiny_imagenet_as_it_is_distributed",
    "ImageNet": "test_imagenet_as_its_competition_has_it",
    "ids of WordNet": "test_ids_of_wordnet_get_their_words_in_the_order_of_ids",
    "a table beside pictures": "test_a_table_of_labels_beside_a_folder",
    "columns that say yes to two parts of one picture, or that most are not to train on (`is_valid` may mean that a picture is not damaged)": "test_columns_of_parts_that_cannot_be_meant_are_refused",
    "a column of parts that says 0, 1 and 2": "test_parts_by_numbers_are_taken_as_celeba_and_wilds_number_them",
    "a column of parts that says other numbers; `fold`": "test_numbers_that_may_be_anything_are_no_parts_and_said",
    "columns of shares, such as `0.7` of a class": "test_shares_of_classes_are_no_labels",
    "a table with a row for each box, several of a picture": "test_a_table_of_boxes_is_refused_where_pictures_have_several",
    "a table against folders": "test_a_table_decides_against_folders_that_are_no_classes",
    "a list with labels for each part: `train.txt`, `val.txt`, `images_variant_test.txt`": "test_a_list_with_labels_for_each_part",
    "a table with several columns that may be the label": "test_columns_that_may_all_be_labels_are_asked_for",
    "columns of attributes, of parts, of measures": "test_columns_of_attributes_and_of_parts_are_no_labels",
    "numbers in a table of one part, folders such as `00007` in another": "test_numbers_of_a_table_are_those_of_folders_with_zeros",
    "the class in the name of each file: `cat.0.jpg`, `dog_12.png`, `19_frog.png`": "test_classes_in_the_names_of_files_are_read_and_said",
    "`sample_submission.csv`": "test_a_table_of_labels_beside_a_folder",
    "WebDataset": "test_webdataset",
    "samples whose label is `-1`, `nan` or the like": "test_a_sample_that_says_it_has_no_label_is_of_no_class",
    "texts beside pictures in class folders": "test_captions_beside_class_folders_are_no_labels",
    "CIFAR-10, CIFAR-100 for Python": "test_cifar_10_for_python_as_it_is_distributed",
    "SVHN": "test_svhn_as_it_is_distributed",
    "MNIST and its kin": "test_mnist_as_it_is_distributed",
    "EMNIST": "test_emnist_lies_on_its_side_and_is_named_by_its_mapping",
    "tables of pixels": "test_tables_of_pixels",
    "CIFAR-10, CIFAR-100 for C": "test_cifar_for_c_as_it_is_distributed",
    "STL-10": "test_stl_10_as_it_is_distributed",
    "numbers for labels": "test_lines_that_name_no_classes_leave_them_numbers",
    "`.npz`": "test_arrays_of_numpy",
    "`.npy`, a file an array": "test_arrays_a_file_each",
    "Parquet of Hugging Face": "test_parquet_of_hugging_face",
    "Parquet with a column `split` or the like": "test_a_column_of_parts_in_shards_is_used",
    "Parquet that declares classes of which there is no image": "test_classes_that_are_declared_and_have_no_image_are_said",
    "Parquet with several columns that may be the pictures or the label, shards that declare other columns or classes": "test_shards_that_declare_other_classes_are_refused",
    "archives within an archive": "test_archives_within_an_archive_are_named",
    "RAR, 7-Zip, HDF5, a web page, a pointer of Git LFS, a single picture, a part of a split zip": "test_other_files_are_named",
    "TFRecord, HDF5, LMDB, FFCV, MATLAB, tensors of PyTorch, Arrow of Hugging Face, NIfTI, films, files without a suffix": "test_what_is_there_is_named_with_the_way_out",
    "pictures with boxes: COCO, Pascal VOC, YOLO": "test_what_is_there_is_named_with_the_way_out",
    "labels in Excel or MATLAB files": "test_what_is_there_is_named_with_the_way_out",
    "a pickle that asks for more than arrays": "test_a_pickle_that_runs_code_is_refused",
    "backslashes in a zip that Windows made": "test_backslashes_of_windows_are_separators",
    "names in UTF-8 without the flag that says so": "test_names_in_utf8_without_the_flag",
    "names in another encoding": "test_names_in_another_encoding_are_said_and_chosen",
    "é in one character and in two": "test_one_name_in_two_forms_of_unicode_is_one_class",
    "the order of classes": "test_the_order_of_classes_is_chosen",
    "links, hidden files, paths that lead out": "test_links_are_said",
    "a colour profile (Display P3, Adobe RGB, CMYK)": "test_a_colour_profile_is_converted_to_srgb",
    "a profile that cannot be read; Adobe RGB by EXIF alone": "test_srgb_and_unreadable_profiles_leave_pixels_alone",
    "8, 12 or 16 bits of data in 16": "test_16_bits_are_scaled_by_those_in_use",
    "floating-point or 32-bit pictures": "test_numbers_of_an_unknown_range_are_refused",
    "a JPEG without its end marker, with every pixel": "test_a_jpeg_without_its_end_marker_is_whole",
    "a JPEG that is cut short": "test_a_jpeg_without_its_end_marker_is_whole",
    "long texts in a PNG": "test_a_png_with_long_texts_is_whole",
    "EXIF tags of the wrong type": "test_mistyped_exif_tags_are_no_damage",
    "animations, several pages": "test_the_first_of_many_pictures_is_said",
    "`test_in_train`, `test_nearly_in_train`": "test_leaks_are_found",
    "`training_duplicates`, `test_duplicates`": "test_duplicates_and_plain_images_are_counted",
    "`several_labels`": "test_one_picture_under_two_classes_is_said",
    "`training_plain`, `test_plain`": "test_duplicates_and_plain_images_are_counted",
    "`few_training`, `few_test`, `unbalanced_training`, `unbalanced_test`": "test_small_and_unbalanced_classes_are_named",
    "`alike_classes`": "test_classes_that_may_be_one_are_said",
    "`folders_in_classes`, `classes_in_names`, `labels_guessed`": "test_folders_within_class_folders_are_said",
    "`labels_combined`": "test_labels_that_look_like_several_are_said",
    "`split_guessed`, `split_not_used`": "test_numbers_that_may_be_anything_are_no_parts_and_said",
    "`masks_taken`": "test_masks_beside_their_pictures_are_said",
    "`dark`": "test_numbers_and_classes_of_pixels_written_as_bytes_are_said",
    "`enlarged`": "test_enlarged_pictures_are_counted",
    "`names_guessed`": "test_a_table_that_is_not_in_utf8_is_said",
    "images that could not be read": "test_why_images_were_left_out_is_said_when_the_import_fails",
}


def test_every_row_about_datasets_is_held_by_a_test() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page, flags=re.MULTILINE)[1]
    assert section.startswith("Datasets")
    lines = re.findall(r"^\| (.*?) \|.*\|\n(?!\|---)", section, re.MULTILINE)
    assert lines == list(TEST_OF)
    tests: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tests.update(re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE))
    assert set(TEST_OF.values()) <= tests
