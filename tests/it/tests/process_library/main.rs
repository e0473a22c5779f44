//! The processes of `orchestrator/sagas`, each run for real: the shipped definition and the shipped worker configuration, on real
//! repositories, folders, services and a real web server; and each of them failing, with everything put back.

mod backup;
mod insert;
mod release;
mod restart;
mod world;
