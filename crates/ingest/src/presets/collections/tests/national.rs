use super::*;

/// The revised table's header, whose last four names are two with commas, and the first edition's, which ends in one.
const NIH_HEADER: &str = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
     OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]";

pub(super) fn write_nih(mini: &Mini) {
    mini.table(
        "Data_Entry_2017.csv",
        &format!(
            "{NIH_HEADER},\n\
             00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n\
             00000001_001.png,No Finding,1,1,058Y,M,AP,2894,2729,0.143,0.143,\n\
             00000002_000.png,Pleural_Thickening,0,2,081Y,M,PA,2500,2048,0.171,0.171,\n\
             00000003_000.png,Hernia,0,3,081Y,F,PA,2582,2991,0.143,0.143,\n"
        ),
    );
    mini.table("train_val_list.txt", "00000001_000.png\n00000001_001.png\n00000002_000.png\n");
    mini.table("test_list.txt", "00000003_000.png\n");
    mini.table("BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,\n");
    mini.png("images_001/images/00000001_000.png");
    mini.png("images_001/images/00000001_001.png");
    mini.png("images_012/images/00000002_000.png");
    mini.png("images_012/images/00000003_000.png");
}

#[test]
fn nih_chestxray14() {
    let mini = Mini::new();
    write_nih(&mini);
    let made = mini.prepare("nih-chestxray14");
    assert_eq!(made.skipped, []);
    let (first, second, test) = (
        "images_001/images/00000001_000.png",
        "images_001/images/00000001_001.png",
        "images_012/images/00000003_000.png",
    );
    assert!(made.same_patient(first, second) && !made.same_patient(first, test));
    assert_eq!(made.row(test).split, Split::Test);
    assert_eq!(made.row(second).view.as_deref(), Some("AP"));
    let [positive, negative, uncertain] = labels(made.row(first));
    assert_eq!((positive.as_str(), uncertain.as_str()), ("cardiomegaly emphysema", ""));
    assert_eq!(negative.split(' ').count(), 13, "12 findings and `normal`: {negative}");
    assert_eq!(labels(made.row(second))[0], "normal");
    assert_eq!(made.row(second).labels_negative.len(), 14);
    assert!(made.row(first).licence.as_deref().unwrap().starts_with("no restrictions"));
}

#[test]
fn images_stay_in_the_archives_that_they_come_in() {
    use zip::CompressionMethod::Stored;

    use crate::archive::tests::{gzipped, tar_bytes, zip_bytes};

    let [unpacked, packed] = [Mini::new(), Mini::new()];
    write_nih(&unpacked);
    write_nih(&packed);
    let at = |name: &str| packed.source().join(name);
    let read = |folder: &str, name: &str| fs::read(at(folder).join("images").join(name)).unwrap();
    let members =
        ["00000001_001.png", "00000001_000.png"].map(|name| (format!("images/{name}"), read("images_001", name)));
    let raw = members.each_ref().map(|(name, bytes)| (name.as_bytes(), &bytes[..]));
    fs::write(at("images_001.tar.gz"), gzipped(&tar_bytes(&raw))).unwrap();
    let members =
        ["00000002_000.png", "00000003_000.png"].map(|name| (format!("images/{name}"), read("images_012", name)));
    let raw = members.each_ref().map(|(name, bytes)| (name.as_str(), &bytes[..]));
    fs::write(at("images_012.zip"), zip_bytes(&raw, Stored)).unwrap();
    for folder in ["images_001", "images_012"] {
        fs::remove_dir_all(at(folder)).unwrap();
    }
    // An archive beside what was unpacked from it is left alone.
    fs::write(unpacked.source().join("images_012.zip"), zip_bytes(&raw, Stored)).unwrap();
    let (expected, made) = (unpacked.prepare("nih-chestxray14"), packed.prepare("nih-chestxray14"));
    assert_eq!(expected.skipped, []);
    assert_eq!(made.skipped, []);
    assert_eq!(made.rows.len(), expected.rows.len());
    for (name, row) in expected.rows {
        let folder = if name.starts_with("images_001") { "images_001.tar.gz" } else { "images_012.zip" };
        let found = made.row(&format!("{folder}{}", &name["images_001".len()..]));
        assert_eq!(
            (&found.pixel_hash, &found.labels, found.split),
            (&row.pixel_hash, &row.labels, row.split),
            "{name}"
        );
    }
}

#[test]
fn what_is_not_in_an_official_test_set_is_never_drawn_for_testing() {
    let mini = Mini::new();
    let mut table = format!("{NIH_HEADER}\n");
    let mut list = String::new();
    for patient in 1..=60 {
        table.push_str(&format!("{patient:08}_000.png,Mass,0,{patient},058Y,M,PA,1,1,0.1,0.1\n"));
        list.push_str(&format!("{patient:08}_000.png\n"));
        mini.png(&format!("images/{patient:08}_000.png"));
    }
    mini.table("Data_Entry_2017_v2020.csv", &table);
    mini.table("train_val_list.txt", &list);
    mini.table("test_list.txt", "");
    let made = mini.prepare("nih-chestxray14");
    let plan = SplitPlan::default();
    let would_be_test =
        (1..=60).filter(|patient| plan.assign(&format!("nih-chestxray14-{patient}")) == Split::Test).count();
    assert!(would_be_test > 0, "else this test shows nothing");
    let counts = made.dataset.info().counts;
    assert_eq!(counts.test, 0, "{counts}");
    assert!(counts.val > 0 && counts.train > 3 * counts.val, "{counts}");
}

#[test]
fn padchest() {
    let mini = Mini::new();
    let header = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,\
                  Projection,MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,\
                  PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,\
                  WindowCenter_DICOM,WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,\
                  ExposureInuAs_DICOM,ExposureTime,RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,\
                  Localizations,LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS";
    let row = |number: usize, dir: usize, patient: &str, projection: &str, labels: &str| {
        let start =
            format!("{number},{number}_a.png,{dir},20140915,s{number},{patient},1930,F,POSTEROANTERIOR,{projection}");
        format!("{start}{}\"{labels}\"{}\n", ",".repeat(22), ",".repeat(4))
    };
    let rows = [
        row(
            1,
            0,
            "839860488694292331637988235681460987",
            "PA",
            "['pleural effusion', 'cardiomegaly', 'lepidic adenocarcinoma']",
        ),
        row(2, 54, "839860488694292331637988235681460987", "L", "['normal']"),
        row(3, 54, "3132", "AP_horizontal", "['suboptimal study', 'unchanged']"),
        row(4, 54, "3133", "COSTAL", "['rib fracture']"),
        row(5, 54, "3134", "AP", ""),
    ];
    mini.table("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", &format!("{header}\n{}", rows.concat()));
    mini.png("0/1_a.png");
    (2..=5).for_each(|number| mini.png(&format!("54/{number}_a.png")));
    let made = mini.prepare("padchest");
    assert!(made.same_patient("0/1_a.png", "54/2_a.png") && !made.same_patient("0/1_a.png", "54/3_a.png"));
    let views = ["0/1_a.png", "54/2_a.png", "54/3_a.png"].map(|name| made.row(name).view.clone().unwrap());
    assert_eq!(views, ["PA", "LATERAL", "AP SUPINE"]);
    let row = made.row("0/1_a.png");
    assert_eq!(row.labels, ["cardiomegaly", "effusion"]);
    assert!(row.labels_negative.contains(&"normal".to_owned()) && row.labels_negative.contains(&"hernia".to_owned()));
    assert!(!row.labels_negative.contains(&"covid_19".to_owned()), "what PadChest has no word for is unknown");
    assert_eq!(made.row("54/2_a.png").labels, ["normal"]);
    assert_eq!(labels(made.row("54/3_a.png")), [""; 3], "a report that says nothing of findings");
    assert_eq!(labels(made.row("54/5_a.png")), [""; 3]);
    assert!(
        made.report("outside the vocabulary").contains("1 word is left out (most often \"lepidic adenocarcinoma\"")
    );
    assert!(made.report("rows that are left out").contains("1 image: rib views"));
    assert_eq!(made.skipped.len(), 2, "{:?}", made.skipped);
    assert!(row.licence.as_deref().unwrap().contains("BIMCV"));
}

#[test]
fn brax() {
    let mini = Mini::new();
    let (png, dcm) =
        ("images/id_1/Study_2/Series_3/image-4.png", "Anonymized_DICOMs/id_1/Study_2/Series_3/image-5.dcm");
    mini.table(
        "master_spreadsheet_update.csv",
        &format!(
            "DicomPath,PngPath,PatientID,PatientSex,PatientAge,AccessionNumber,StudyDate,No Finding,\
             Enlarged Cardiomediastinum,Cardiomegaly,Lung Lesion,Lung Opacity,Edema,Consolidation,Pneumonia,Atelectasis,\
             Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices,ViewPosition,Rows,Columns,Manufacturer\n\
             Anonymized_DICOMs/id_1/Study_2/Series_3/image-4.dcm,{png},id_1,M,45,1,20080101,,,1,,,,0,-1,,,,,,,PA,1,1,2\n\
             {dcm},images/id_1/Study_2/Series_3/image-5.png,id_1,M,45,1,20080101,,,,,,,,,,,,,,,LL,1,1,2\n"
        ),
    );
    mini.png(png);
    mini.dicom(dcm, "id_1", "LL");
    let made = mini.prepare("brax");
    assert_eq!(made.skipped, []);
    assert!(made.same_patient(png, dcm));
    assert_eq!((made.row(png).view.as_deref(), made.row(dcm).view.as_deref()), (Some("PA"), Some("LL")));
    assert_eq!(labels(made.row(png)), ["cardiomegaly", "normal consolidation", "pneumonia"]);
    assert_eq!(labels(made.row(dcm)), [""; 3]);
    assert_eq!(made.row(png).split, made.row(dcm).split);
    assert!(made.row(png).licence.as_deref().unwrap().contains("PhysioNet"));
}

#[test]
fn vindr_cxr() {
    let findings = "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,\
                    Emphysema,Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,\
                    Nodule/Mass,Pleural effusion,Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,\
                    Other lesion,COPD,Lung tumor,Pneumonia,Tuberculosis";
    let row = |positive: &[usize]| {
        let cells = (0..28).map(|at| if positive.contains(&at) { "1" } else { "0" });
        cells.collect::<Vec<_>>().join(",")
    };
    let mini = Mini::new();
    // Readers of an image need not be beside each other.
    mini.table(
        "annotations/image_labels_train.csv",
        &format!(
            "image_id,rad_id,{findings},Other diseases,No finding\na1,R1,{}\nb2,R1,{}\na1,R2,{}\na1,R3,{}\nb2,R2,{}\nb2,R3,{}\n",
            row(&[0, 3]),
            row(&[27]),
            row(&[3]),
            row(&[3, 15]),
            row(&[27]),
            row(&[27]),
        ),
    );
    mini.table(
        "annotations/image_labels_test.csv",
        &format!("image_id,{findings},Other disease,No finding\nc3,{}\n", row(&[25, 26])),
    );
    mini.table("annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n");
    for name in ["train/a1", "train/b2", "test/c3"] {
        mini.dicom(&format!("{name}.dicom"), "anonymous", "");
    }
    // One folder is still in its archive, as it was downloaded.
    let zipped = fs::read(mini.source().join("train/b2.dicom")).unwrap();
    fs::remove_file(mini.source().join("train/b2.dicom")).unwrap();
    let zipped = crate::archive::tests::zip_bytes(&[("b2.dicom", &zipped)], zip::CompressionMethod::Deflated);
    mini.file("train.zip", &zipped);
    let made = mini.prepare("vindr-cxr");
    assert_eq!(made.skipped, []);
    assert!(!made.same_patient("train/a1.dicom", "train/b2.dicom"), "the headers' identifier is not one");
    let [positive, negative, uncertain] = labels(made.row("train/a1.dicom"));
    assert_eq!(positive, "cardiomegaly");
    assert_eq!(uncertain, "nodule_or_mass aortic_enlargement", "one of three readers");
    assert_eq!(negative.split(' ').count(), 25);
    assert_eq!(labels(made.row("train/b2.dicom"))[0], "normal");
    assert_eq!(labels(made.row("test/c3.dicom"))[0], "tuberculosis other_disease");
    assert_eq!(made.row("test/c3.dicom").split, Split::Test);
    assert_ne!(made.row("train/a1.dicom").split, Split::Test);
    assert_eq!(made.row("train/a1.dicom").view.as_deref(), Some("PA"));
    assert!(made.row("train/a1.dicom").licence.as_deref().unwrap().contains("PhysioNet"));
}

pub(super) fn write_rsna(mini: &Mini) {
    mini.table(
        "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\n0004,,,,,0\n0043,264.0,152.0,213.0,379.0,1\n0043,562.0,152.0,256.0,453.0,1\n\
         00aa,,,,,0\n",
    );
    mini.table(
        "stage_2_detailed_class_info.csv",
        "patientId,class\n0004,No Lung Opacity / Not Normal\n0043,Lung Opacity\n0043,Lung Opacity\n00aa,Normal\n",
    );
    mini.table("stage_2_sample_submission.csv", "patientId,PredictionString\n2392,0.5 0 0 100 100\n");
    mini.table(
        "pneumonia-challenge-dataset-mappings_2018.json",
        "[{\"subset_img_id\": \"0004\", \"img_id\": \"00000002_007.png\"},\
          {\"subset_img_id\": \"0043\", \"img_id\": \"00000002_000.png\"}]",
    );
    for name in ["0004", "0043", "00aa"] {
        mini.dicom(&format!("stage_2_train_images/{name}.dcm"), name, "PA");
    }
    mini.dicom("stage_2_test_images/2392.dcm", "2392", "AP");
}

#[test]
fn rsna_pneumonia() {
    let mini = Mini::new();
    write_rsna(&mini);
    let made = mini.prepare("rsna-pneumonia");
    assert_eq!(made.skipped, []);
    let [other, opacity, normal] = ["0004", "0043", "00aa"].map(|name| format!("stage_2_train_images/{name}.dcm"));
    let test = "stage_2_test_images/2392.dcm";
    assert!(made.same_patient(&other, &opacity), "the same patient of the NIH");
    assert!(!made.same_patient(&other, &normal) && !made.same_patient(&other, test));
    assert_eq!(labels(made.row(&opacity)), ["pneumonia lung_opacity", "normal", ""]);
    assert_eq!(labels(made.row(&other)), ["", "normal pneumonia lung_opacity", ""]);
    assert_eq!(labels(made.row(&normal)), ["normal", "pneumonia lung_opacity", ""]);
    assert_eq!(labels(made.row(test)), [""; 3]);
    assert_eq!((made.row(test).split, made.row(test).view.as_deref()), (Split::Test, Some("AP")));
    assert_ne!(made.row(&normal).split, Split::Test);
    assert!(made.row(test).licence.as_deref().unwrap().contains("RSNA"));
}

#[test]
fn siim() {
    let mini = Mini::new();
    // The second column's name begins with a blank.
    mini.table(
        "train-rle.csv",
        "ImageId, EncodedPixels\n1.2.276.1, -1\n1.2.276.2, 557374 2 1015 8 1009\n1.2.276.2,514175 10 1008 29 994\n1.2.276.9, -1\n",
    );
    mini.dicom("dicom-images-train/1.2.276.11/1.2.276.12/1.2.276.1.dcm", "p-1", "AP");
    mini.dicom("dicom-images-train/1.2.276.21/1.2.276.22/1.2.276.2.dcm", "p-1", "PA");
    mini.dicom("dicom-images-test/1.2.276.31/1.2.276.32/1.2.276.3.dcm", "p-3", "PA");
    let made = mini.prepare("siim");
    let [without, with] = ["11/1.2.276.12/1.2.276.1", "21/1.2.276.22/1.2.276.2"]
        .map(|name| format!("dicom-images-train/1.2.276.{name}.dcm"));
    assert!(made.same_patient(&without, &with), "patients are those of the headers");
    assert_eq!(labels(made.row(&without)), ["", "pneumothorax", ""]);
    assert_eq!(labels(made.row(&with)), ["pneumothorax", "", ""]);
    assert_eq!(made.row(&without).view.as_deref(), Some("AP"));
    assert!(made.report("not there").contains("1.2.276.9.dcm"));
    assert!(made.report("no table knows").contains("dicom-images-test"));
    assert!(made.row(&with).licence.as_deref().unwrap().contains("SIIM-ACR"));

    let later = Mini::new();
    later.table("stage_2_train.csv", "ImageId,EncodedPixels\nID_0011fe81e,-1\n");
    later.dicom("stage_2_images/ID_0011fe81e.dcm", "p", "PA");
    assert_eq!(labels(later.prepare("siim").row("stage_2_images/ID_0011fe81e.dcm")), ["", "pneumothorax", ""]);
}
