//! The codes of `meta.advice`, which tell the sender how the next picture would be better, and what an
//! enrolment found. `docs/pictures.md` explains each; a code added here is added there.

pub(crate) const QUALITY_NOT_VALIDATED: &str = "quality_not_validated_with_liveness";
pub(crate) const SEVERAL_FACES: &str = "several_faces";
pub(crate) const CUT_BY_BORDER: &str = "face_cut_by_border";
pub(crate) const ASPECT_NOT_4_3: &str = "aspect_not_4_3";
pub(crate) const BACKLIT: &str = "backlit";
pub(crate) const TOO_SMALL: &str = "face_too_small";
pub(crate) const ALREADY_ENROLLED: &str = "already_enrolled";
pub(crate) const FACES_DISAGREE: &str = "faces_disagree";
