//! Two ends
