//! The codes of `meta.advice`. They tell the sender how to improve the next picture, or report
//! findings of an enrolment. `docs/pictures.md` explains each; add new codes there too.

pub(crate) const QUALITY_NOT_VALIDATED: &str = "quality_not_validated_with_liveness";
pub(crate) const SEVERAL_FACES: &str = "several_faces";
pub(crate) const CUT_BY_BORDER: &str = "face_cut_by_border";
pub(crate) const ASPECT_NOT_4_3: &str = "aspect_not_4_3";
pub(crate) const BACKLIT: &str = "backlit";
pub(crate) const TOO_SMALL: &str = "face_too_small";
pub(crate) const ALREADY_ENROLLED: &str = "already_enrolled";
pub(crate) const NOT_LIVE: &str = "not_live";
pub(crate) const REPLACED_FACE_DIFFERS: &str = "replaced_face_differs";
pub(crate) const FACES_DISAGREE: &str = "faces_disagree";
