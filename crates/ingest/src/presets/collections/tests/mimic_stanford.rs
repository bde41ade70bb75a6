use super::*;

const MIMIC_METADATA: &str = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,\
     StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,\
     PatientOrientationCodeSequence_CodeMeaning\n\
     02aa,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531,CHEST (PA AND LAT),postero-anterior,Erect\n\
     174b,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531,CHEST (PA AND LAT),lateral,Erect\n\
     e084,11000032,53911762,CHEST (PORTABLE AP),AP,2705,2539,21800723,80556.875,CHEST (PORTABLE AP),antero-posterior,\n\
     ffff,11000032,53911762,CHEST (PORTABLE AP),AP,2705,2539,21800723,80556.875,CHEST (PORTABLE AP),antero-posterior,\n";
const MIMIC_SPLIT: &str = "dicom_id,study_id,subject_id,split\n02aa,50414267,10000032,train\n174b,50414267,10000032,train\n\
     e084,53911762,11000032,test\nffff,53911762,11000032,test\n";
const MIMIC_CHEXPERT: &str = "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,\
     Fracture,Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices\n\
     10000032,50414267,,,,,,,,,1.0,,,,,\n11000032,53911762,1.0,0.0,-1.0,,,,,,,,,,,1.0\n";

#[test]
fn mimic_cxr_jpg() {
    let mini = Mini::new();
    mini.table("mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_METADATA);
    mini.table("mimic-cxr-2.0.0-split.csv.gz", MIMIC_SPLIT);
    mini.table("mimic-cxr-2.0.0-chexpert.csv.gz", MIMIC_CHEXPERT);
    mini.jpeg("files/p10/p10000032/s50414267/02aa.jpg");
    mini.jpeg("files/p10/p10000032/s50414267/174b.jpg");
    mini.jpeg("files/p11/p11000032/s53911762/e084.jpg");
    mini.jpeg("files/p19/p19000000/s1/unknown.jpg");
    let made = mini.prepare("mimic-cxr-jpg");
    let [pa, lateral, ap] =
        ["p10/p10000032/s50414267/02aa", "p10/p10000032/s50414267/174b", "p11/p11000032/s53911762/e084"]
            .map(|name| format!("files/{name}.jpg"));
    assert!(made.same_patient(&pa, &lateral) && !made.same_patient(&pa, &ap));
    let row = made.row(&ap);
    assert_eq!((row.view.as_deref(), row.split), (Some("AP"), Split::Test));
    assert_eq!(labels(row), ["atelectasis support_devices", "normal cardiomegaly", "consolidation"]);
    assert_eq!(row.collection.as_deref(), Some("mimic-cxr-jpg"));
    assert_eq!(row.licence.as_deref(), Some("PhysioNet Credentialed Health Data License 1.5.0"));
    let row = made.row(&lateral);
    assert_eq!(
        (row.view.as_deref(), row.split, row.labels.join(" ")),
        (Some("LATERAL"), Split::Train, "normal".into())
    );
    assert_eq!(row.labels_negative.len(), 12);
    assert_eq!(made.skipped.len(), 2, "{:?}", made.skipped);
    assert!(
        made.report("not there")
            .starts_with("1 image of the tables is not on disk (for example files/p11/p11000032/s53911762/ffff.jpg)")
    );
    assert!(
        made.report("no table knows")
            .contains("1 image file on disk is in no row and left out (for example files/p19/")
    );

    // Where only a part was downloaded and the tables lie deeper, the rest is reported and not fatal.
    let deep = Mini::new();
    deep.table("physionet.org/files/mimic-cxr-jpg/2.0.0/mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_METADATA);
    deep.jpeg("physionet.org/files/mimic-cxr-jpg/2.0.0/files/p10/p10000032/s50414267/02aa.jpg");
    let made = deep.prepare("mimic-cxr-jpg");
    assert_eq!(labels(made.row(&pa)), [""; 3]);
    assert!(made.report("split.csv").contains("there are no official splits"));
    assert!(made.report("chexpert.csv").contains("there are no labels"));
}

#[test]
fn mimic_cxr() {
    let mini = Mini::new();
    mini.table(
        "cxr-record-list.csv.gz",
        "subject_id,study_id,dicom_id,path\n\
         10000032,50414267,02aa,files/p10/p10000032/s50414267/02aa.dcm\n\
         10000032,50414267,174b,files/p10/p10000032/s50414267/174b.dcm\n\
         11000032,53911762,e084,files/p11/p11000032/s53911762/e084.dcm\n",
    );
    mini.table(
        "cxr-study-list.csv.gz",
        "subject_id,study_id,path\n10000032,50414267,files/p10/p10000032/s50414267.txt\n",
    );
    mini.table("mimic-cxr-2.0.0-split.csv.gz", MIMIC_SPLIT);
    mini.table("mimic-cxr-2.0.0-chexpert.csv.gz", MIMIC_CHEXPERT);
    mini.dicom("files/p10/p10000032/s50414267/02aa.dcm", "10000032", "PA");
    mini.dicom("files/p10/p10000032/s50414267/174b.dcm", "10000032", "LATERAL");
    mini.dicom("files/p11/p11000032/s53911762/e084.dcm", "11000032", "AP");
    let made = mini.prepare("mimic-cxr");
    let [pa, lateral, ap] =
        ["p10/p10000032/s50414267/02aa", "p10/p10000032/s50414267/174b", "p11/p11000032/s53911762/e084"]
            .map(|name| format!("files/{name}.dcm"));
    assert!(made.same_patient(&pa, &lateral) && !made.same_patient(&pa, &ap));
    assert_eq!(made.row(&ap).view.as_deref(), Some("AP"), "of the header, since the table of views is not there");
    assert_eq!(made.row(&ap).split, Split::Test);
    assert_eq!(labels(made.row(&ap)), ["atelectasis support_devices", "normal cardiomegaly", "consolidation"]);
    assert!(made.report("metadata.csv").contains("there are no views but those of the DICOM headers"));
    assert_eq!(made.skipped.len(), 1, "{:?}", made.skipped);
    assert!(made.row(&pa).licence.as_deref().unwrap().contains("Credentialed"));
}

const CHEXPERT_HEADER: &str = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,\
     Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,\
     Fracture,Support Devices\n";

#[test]
fn chexpert() {
    let mini = Mini::new();
    let root = "CheXpert-v1.0-small";
    mini.table(
        &format!("{root}/train.csv"),
        &format!(
            "{CHEXPERT_HEADER}{root}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n\
             {root}/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,\n\
             {root}/train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,\n"
        ),
    );
    mini.table(
        &format!("{root}/valid.csv"),
        &format!(
            "{CHEXPERT_HEADER}{root}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,\
             0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
        ),
    );
    let names = [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00002/study2/view1_frontal.jpg",
        "train/patient00002/study1/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    ];
    names.iter().for_each(|name| mini.jpeg(&format!("{root}/{name}")));
    let made = mini.prepare("chexpert");
    assert_eq!(made.skipped, []);
    assert!(made.same_patient(names[1], names[2]) && !made.same_patient(names[0], names[1]));
    let views = names.map(|name| made.row(name).view.clone().unwrap());
    assert_eq!(views, ["AP", "PA", "LATERAL", "AP"]);
    let splits = names.map(|name| made.row(name).split);
    assert_eq!(splits, [Split::Train, Split::Train, Split::Train, Split::Val]);
    assert_eq!(made.row(names[0]).labels.join(" "), "normal support_devices");
    assert_eq!(
        labels(made.row(names[1])),
        ["lung_opacity fracture", "normal", "atelectasis cardiomegaly consolidation edema effusion"]
    );
    let [positive, negative, uncertain] = labels(made.row(names[3]));
    assert_eq!((positive.as_str(), uncertain.as_str()), ("cardiomegaly enlarged_cardiomediastinum lung_opacity", ""));
    assert_eq!(negative.split(' ').count(), 11);
    assert_eq!(made.row(names[0]).licence.as_deref(), Some("Stanford University Dataset Research Use Agreement"));

    // The full-size edition: four archives beside each other.
    let full = Mini::new();
    full.table(
        "CheXpert-v1.0 batch 1 (validate & csv)/train.csv",
        &format!(
            "{CHEXPERT_HEADER}CheXpert-v1.0/train/patient30001/study1/view1_frontal.jpg,Male,5,Frontal,AP{}\n",
            ",".repeat(14)
        ),
    );
    full.jpeg("CheXpert-v1.0 batch 3 (train 2)/patient30001/study1/view1_frontal.jpg");
    let made = full.prepare("chexpert");
    assert_eq!(made.rows.len(), 1);
    assert!(made.report("valid.csv").contains("its images are left out"));
}

#[test]
fn chexpert_plus() {
    let mini = Mini::new();
    mini.table(
        "df_chexpert_plus_240401.csv",
        "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,\
         section_narrative,section_clinical_history,section_history,section_comparison,section_technique,\
         section_procedure_comments,section_findings,section_impression,section_end_of_impression,section_summary,\
         section_accession_number,age,sex,race,ethnicity,interpreter_needed,insurance_type,recent_bmi,deceased\n\
         train/patient42142/study5/view1_frontal.jpg,train/patient42142/study5/view1_frontal.dcm,Frontal,AP,patient42142,5,\
         \"NARRATIVE:\nsupine, rotated\",,,,,,,,,,,,65,Male,,,,,,\n\
         train/patient42142/study6/view1_lateral.jpg,train/patient42142/study6/view1_lateral.dcm,Lateral,,patient42142,6,\
         x,,,,,,,,,,,,65,Male,,,,,,\n\
         valid/patient64541/study1/view1_frontal.jpg,valid/patient64541/study1/view1_frontal.dcm,Frontal,PA,patient64541,1,\
         x,,,,,,,,,,,,73,Male,,,,,,\n",
    );
    mini.table(
        "chexbert_labels/impression_fixed.json",
        "{\"path_to_image\": \"train/patient42142/study5/view1_frontal.jpg\", \"Edema\": 1.0, \"Pneumonia\": -1.0, \
         \"Pneumothorax\": 0.0, \"No Finding\": null}\n",
    );
    mini.png("PNG/train/patient42142/study5/view1_frontal.png");
    mini.png("PNG/train/patient42142/study6/view1_lateral.png");
    mini.dicom("DICOM/Uncompressed/valid/patient64541/study1/view1_frontal.dcm", "", "");
    let made = mini.prepare("chexpert-plus");
    assert_eq!(made.skipped, []);
    let (frontal, lateral) =
        ("PNG/train/patient42142/study5/view1_frontal.png", "PNG/train/patient42142/study6/view1_lateral.png");
    assert!(made.same_patient(frontal, lateral));
    assert_eq!(labels(made.row(frontal)), ["edema", "normal pneumothorax", "pneumonia"]);
    assert_eq!((made.row(frontal).view.as_deref(), made.row(lateral).view.as_deref()), (Some("AP"), Some("LATERAL")));
    let valid = made.row("DICOM/Uncompressed/valid/patient64541/study1/view1_frontal.dcm");
    assert_eq!((valid.split, made.row(frontal).split), (Split::Val, Split::Train));
    assert_eq!(valid.licence.as_deref(), Some("Stanford University Dataset Research Use Agreement"));
}
