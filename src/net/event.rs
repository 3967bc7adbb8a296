//! What the sockets' side tells the state thread. Plain data: who handles it, and how, is not known here.

use std::net::IpAddr;

use crate::net::permits::Permit;
use crate::protocol::ConnId;
use crate::protocol::hello::Hello;
use crate::protocol::method::Call;
use crate::protocol::warning::WarningCode;

/// What connections and the token's file tell the state thread.
pub(crate) enum NetEvent {
    /// A client passed its handshake.
    Opened(Box<Opened>),
    /// A client asks for something.
    Request {
        /// The client's connection.
        conn: ConnId,
        /// The id that the answer bears.
        id: String,
        /// The validated request.
        call: Call,
        /// Room for what a large request became; given back when state has taken it in.
        built: Option<Box<Permit>>,
    },
    /// A client is gone.
    Closed {
        /// The client's connection.
        conn: ConnId,
    },
    /// What a person should mend, by its code; or that it has been mended, or never was wrong.
    Warning(WarningCode, Option<String>),
    /// Another token is in force.
    TokenChanged {
        /// The token's number, higher than those of the tokens before it.
        number: u64,
    },
}

/// A client past its handshake.
pub(crate) struct Opened {
    /// The client's connection.
    pub(crate) conn: ConnId,
    /// The address that the client connected from.
    pub(crate) ip: IpAddr,
    /// What the client said of itself.
    pub(crate) hello: Hello,
    /// Number of the token that the client proved.
    pub(crate) token: u64,
}
