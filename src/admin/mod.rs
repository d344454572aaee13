//! The routes of PRODUCT section 7, served on the control socket.
