use super::*;

#[test]
fn vindr_cxr_kaggle() {
    let train = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n\
                 a1,Cardiomegaly,3,R10,691,1375,1653,1831\n\
                 b2,No finding,14,R8,,,,\n\
                 a1,Cardiomegaly,3,R9,700,1380,1640,1825\n\
                 a1,Nodule/Mass,8,R9,100,100,120,130\n\
                 a1,Nodule/Mass,8,R9,300,300,320,330\n\
                 b2,No finding,14,R9,,,,\n\
                 a1,No finding,14,R8,,,,\n\
                 b2,No finding,14,R10,,,,\n\
                 d4,Pulmonary fibrosis,13,R9,1,2,3,4\n\
                 d4,Strange,15,R8,1,2,3,4\n\
                 d4,Pulmonary fibrosis,13,R10,1,2,3,4\n\
                 gone,No finding,14,R1,,,,\n";
    let mini = Mini::new();
    mini.table("train.csv", train);
    mini.table("sample_submission.csv", "image_id,PredictionString\nc3,14 1 0 0 1 1\n");
    for name in ["train/a1", "train/b2", "test/c3"] {
        mini.dicom(&format!("{name}.dicom"), "anonymous", "");
    }
    mini.png("train/d4.png");
    let made = mini.prepare("vindr-cxr-kaggle");
    let a = made.row("train/a1.dicom");
    let [positive, negative, uncertain] = labels(a);
    assert_eq!(positive, "cardiomegaly", "two of three readers");
    assert_eq!(uncertain, "normal nodule_or_mass", "one reader, however many boxes");
    assert_eq!(negative.split(' ').count(), 12, "{negative}");
    let [positive, negative, uncertain] = labels(made.row("train/b2.dicom"));
    assert_eq!((positive.as_str(), negative.split(' ').count(), uncertain.as_str()), ("normal", 14, ""));
    assert_eq!(labels(made.row("train/d4.png"))[0], "fibrosis");
    assert_eq!(labels(made.row("test/c3.dicom")), [""; 3]);
    assert_eq!(made.row("test/c3.dicom").split, Split::Test);
    assert!(made.rows.values().all(|row| (row.split == Split::Test) == row.source_file.starts_with("test/")));
    assert!(!made.same_patient("train/a1.dicom", "train/b2.dicom"), "the headers' identifier is not one");
    assert_eq!((a.view.as_deref(), a.collection.as_deref()), (Some("PA"), Some("vindr-cxr-kaggle")));
    assert!(
        made.report("not there").starts_with("1 image of the tables is not on disk (for example train/gone.dicom)")
    );
    assert!(made.report("outside the vocabulary").contains("most often \"Strange\""));
    assert_eq!(made.skipped.len(), 2, "{:?}", made.skipped);
}

/// What a spreadsheet makes of a collection's table, and a disk of its names.
#[test]
fn tables_that_were_saved_anew_and_names_that_were_respelled_are_read() {
    let saved = |text: &str| -> Vec<u8> {
        let text = text.replace(',', "\t").replace('\n', "\r\n");
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let table = "Image Index,Finding Labels,Follow-up #,Patient ID,View Position\n\
                 1_0.png,Mass|Hernia,0,7.0,PA\n1_1.png,No Finding,1,7,nan\n2_0.png,,0,nan,AP\n3_0.png,NULL,0,N/A,AP\n";
    let mini = Mini::new();
    mini.file("Data_Entry_2017.csv", &saved(table));
    mini.table("train_val_list.txt", "1_0.png\n1_1.png\n2_0.png\n3_0.png\n");
    mini.table("test_list.txt", "x.png\n");
    for name in ["1_0.PNG", "1_1.png", "2_0.png", "3_0.png"] {
        mini.png(&format!("images/{name}"));
    }
    let made = mini.prepare("nih-chestxray14");
    assert_eq!(made.skipped, []);
    let image = |name: &str| made.row(&format!("images/{name}"));
    assert_eq!(labels(image("1_0.PNG"))[0], "mass hernia");
    assert_eq!(image("1_0.PNG").patient, image("1_1.png").patient, "7.0 is 7");
    assert_ne!(image("2_0.png").patient, image("3_0.png").patient, "no patient is not one patient");
    assert_eq!(image("1_1.png").view, None);
    assert_eq!(labels(image("2_0.png")), [""; 3]);
}
