use super::*;

#[test]
fn jsrt() {
    let mini = Mini::new();
    // A bright left half on film is dark in the picture.
    let raw: Vec<u8> = (0..2048 * 2048_usize)
        .flat_map(|pixel| (if pixel % 2048 < 1024 { 4095_u16 } else { 0 }).to_be_bytes())
        .collect();
    mini.file("All247images/JPCLN001.IMG", &raw);
    mini.file("All247images/JPCLN002.IMG", &raw[..100]);
    mini.dicom("NonNodule93images/JPCNN001.dcm", "", "");
    for side in ["left", "right"] {
        let half: Vec<u8> = (0..64).map(|pixel| if (pixel % 8 < 4) == (side == "left") { 255 } else { 0 }).collect();
        mini.file(&format!("scratch/fold1/masks/{side} lung/JPCLN001.png"), &encode_png_u8(&half, SIZE, SIZE).unwrap());
    }
    let made = mini.prepare("jsrt");
    let (with, without) = ("All247images/JPCLN001.IMG", "NonNodule93images/JPCNN001.dcm");
    assert_eq!(labels(made.row(with)), ["nodule", "normal", ""]);
    assert_eq!(labels(made.row(without)), ["", "nodule", ""]);
    assert!(!made.same_patient(with, without));
    assert_eq!(made.row(with).view.as_deref(), Some("PA"));
    assert_eq!(made.mask(with), Some(vec![1; 64]));
    assert_eq!(made.mask(without), None);
    let at = made.dataset.indices_where(|row| row.source_file == with).unwrap()[0];
    let image = made.dataset.image(at).unwrap();
    assert_eq!((image[0], image[7]), (0, 255));
    assert!(
        made.report("JPCLN002")
            .contains("it has 100 bytes, an image of 2048 x 2048 pixels without a header has 8388608")
    );
    assert_eq!(made.skipped.len(), 1, "{:?}", made.skipped);
    assert!(made.row(with).licence.as_deref().unwrap().contains("JSRT"));
}

#[test]
fn montgomery() {
    let mini = Mini::new();
    let half = |is_left: bool| -> Vec<u8> {
        (0..64).map(|pixel| if (pixel % 8 < 3) == is_left && pixel % 8 != 4 { 255 } else { 0 }).collect()
    };
    mini.png("MontgomerySet/CXR_png/MCUCXR_0001_0.png");
    mini.png("MontgomerySet/CXR_png/MCUCXR_0108_1.png");
    mini.file("MontgomerySet/CXR_png/Thumbs.db", b"");
    mini.table("MontgomerySet/ClinicalReadings/MCUCXR_0001_0.txt", "Patient's Sex: F\nPatient's Age: 027Y\nnormal\n");
    for (side, is_left) in [("left", true), ("right", false)] {
        let mask = encode_png_u8(&half(is_left), SIZE, SIZE).unwrap();
        mini.file(&format!("MontgomerySet/ManualMask/{side}Mask/MCUCXR_0001_0.png"), &mask);
    }
    let made = mini.prepare("montgomery");
    assert_eq!(made.skipped, []);
    let (normal, ill) = ("CXR_png/MCUCXR_0001_0.png", "CXR_png/MCUCXR_0108_1.png");
    assert_eq!(labels(made.row(normal)), ["normal", "tuberculosis", ""]);
    assert_eq!(labels(made.row(ill)), ["tuberculosis", "normal", ""]);
    assert!(!made.same_patient(normal, ill));
    let union: Vec<u8> = (0..64).map(|pixel| u8::from(pixel % 8 != 4)).collect();
    assert_eq!(made.mask(normal), Some(union), "both lungs");
    assert_eq!(made.mask(ill), None);
    assert_eq!(made.row(ill).view.as_deref(), Some("PA"));
    assert!(made.row(ill).licence.as_deref().unwrap().contains("National Library of Medicine"));
    assert!(mini.error("shenzhen").contains("there is no `CXR_png/CHNCXR_0001_0.png` in it"));
}

#[test]
fn shenzhen() {
    let mini = Mini::new();
    mini.png("ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png");
    mini.png("ChinaSet_AllFiles/CXR_png/CHNCXR_0327_1.png");
    mini.table("ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0001_0.txt", "male 45yrs\nnormal\n");
    mini.file("ChinaSet_AllFiles/mask/CHNCXR_0327_1_mask.png", &encode_png_u8(&[255; 64], SIZE, SIZE).unwrap());
    let made = mini.prepare("shenzhen");
    assert_eq!(made.skipped, []);
    let (normal, ill) = ("CXR_png/CHNCXR_0001_0.png", "CXR_png/CHNCXR_0327_1.png");
    assert_eq!(labels(made.row(normal)), ["normal", "tuberculosis", ""]);
    assert_eq!(labels(made.row(ill)), ["tuberculosis", "normal", ""]);
    assert!(!made.same_patient(normal, ill));
    assert_eq!((made.mask(normal), made.mask(ill)), (None, Some(vec![1; 64])));
    assert_eq!(made.row(ill).view.as_deref(), Some("PA"));
    assert!(made.row(ill).licence.as_deref().unwrap().contains("National Library of Medicine"));
}

#[test]
fn covid_chestxray() {
    let mini = Mini::new();
    let row = |patient: &str, finding: &str, view: &str, modality: &str, folder: &str, file: &str, licence: &str| {
        format!(
            "{patient},0,M,65,{finding},Y,Y,,,,,,,,,,,,{view},{modality},2020,\"Hanoi, Vietnam\",{folder},{file},doi,url,{licence},notes,,\n"
        )
    };
    let rows = [
        row("2", "Pneumonia/Viral/COVID-19", "PA", "X-ray", "images", "auntminnie-a.jpg", "CC BY-NC-SA"),
        row("2", "Pneumonia/Viral/COVID-19", "AP Supine", "X-ray", "images", "auntminnie-b.jpg", ""),
        row("7", "No Finding", "L", "X-ray", "images", "7.png", "Apache 2.0"),
        row("8", "todo", "PA", "X-ray", "images", "8.png", ""),
        row("9", "Pneumonia/Viral/COVID-19", "Axial", "CT", "images", "9.png", ""),
        row("10", "Pneumonia/Viral/COVID-19", "Coronal", "CT", "volumes", "coronacases_org_001.nii.gz", ""),
    ];
    mini.table(
        "metadata.csv",
        &format!(
            "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,intubation_present,went_icu,in_icu,\
             needed_supplemental_O2,extubated,temperature,pO2_saturation,leukocyte_count,neutrophil_count,\
             lymphocyte_count,view,modality,date,location,folder,filename,doi,url,license,clinical_notes,other_notes,\n{}",
            rows.concat()
        ),
    );
    mini.jpeg("images/auntminnie-a.jpg");
    mini.jpeg("images/auntminnie-b.jpg");
    ["7", "8", "9"].iter().for_each(|name| mini.png(&format!("images/{name}.png")));
    mini.file("annotations/lungVAE-masks/auntminnie-a_mask.png", &encode_png_u8(&[255; 64], SIZE, SIZE).unwrap());
    let made = mini.prepare("covid-chestxray");
    let (first, second) = ("images/auntminnie-a.jpg", "images/auntminnie-b.jpg");
    assert!(made.same_patient(first, second));
    assert_eq!(labels(made.row(first)), ["pneumonia viral_pneumonia covid_19", "normal", ""]);
    assert_eq!(labels(made.row("images/8.png")), [""; 3]);
    assert_eq!(made.row("images/7.png").labels, ["normal"]);
    let views = [first, second, "images/7.png"].map(|name| made.row(name).view.clone().unwrap());
    assert_eq!(views, ["PA", "AP SUPINE", "LATERAL"]);
    assert_eq!(made.row(first).licence.as_deref(), Some("CC BY-NC-SA"));
    assert!(made.row(second).licence.as_deref().unwrap().starts_with("not stated"));
    assert_eq!((made.mask(first), made.mask(second)), (Some(vec![1; 64]), None));
    assert!(made.report("rows that are left out").contains("1 image: CT slices"));
    assert!(made.report("not there").contains("volumes/coronacases_org_001.nii.gz"));
    assert_eq!(made.skipped.len(), 2, "{:?}", made.skipped);
}

#[test]
fn kermany() {
    let mini = Mini::new();
    mini.jpeg("chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg");
    mini.jpeg("chest_xray/train/PNEUMONIA/person1_bacteria_2.jpeg");
    mini.jpeg("chest_xray/train/PNEUMONIA/person2_virus_3.jpeg");
    mini.jpeg("chest_xray/test/NORMAL/IM-0001-0001.jpeg");
    let made = mini.prepare("kermany");
    assert_eq!(made.skipped, []);
    let file = |name: &str| format!("chest_xray/{name}.jpeg");
    let [first, second, virus] = ["person1_bacteria_1", "person1_bacteria_2", "person2_virus_3"]
        .map(|name| file(&format!("train/PNEUMONIA/{name}")));
    let normal = file("test/NORMAL/IM-0001-0001");
    assert!(made.same_patient(&first, &second) && !made.same_patient(&first, &virus));
    assert_eq!(labels(made.row(&virus)), ["viral_pneumonia", "normal", ""]);
    assert_eq!(labels(made.row(&normal)), ["normal", "pneumonia bacterial_pneumonia viral_pneumonia", ""]);
    assert_eq!((made.row(&normal).split, made.row(&normal).view.as_deref()), (Split::Test, Some("AP")));
    assert_eq!(made.row(&normal).licence.as_deref(), Some("CC BY 4.0"));
}
