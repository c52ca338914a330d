//! `verge node`: the nodes of the region, and further ones of this provider.

use super::{Data, ask};
use crate::admin::{NodeRequest, Request};
use clap::{Args, Subcommand};

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Print a ticket with which a further node of this provider joins: no vote is needed.
    Add(Here),
    /// List the nodes of the region.
    List(Here),
    /// Take a node of this provider out of the region; its place is free for another.
    Withdraw(Which),
    /// Have nothing to do with a node any more, at once, on this node only.
    Block(Block),
}

/// On which node.
#[derive(Debug, Args)]
pub struct Here {
    #[command(flatten)]
    data: Data,
}

/// Which other node.
#[derive(Debug, Args)]
pub struct Which {
    /// The node's name, or the beginning of its id; see `verge node list`.
    who: String,
    #[command(flatten)]
    data: Data,
}

/// `verge node block`
#[derive(Debug, Args)]
pub struct Block {
    /// The node's name, or the beginning of its id; see `verge node list`.
    who: String,
    /// Hear it again.
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    data: Data,
}

impl NodeCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        let (data, request) = match self {
            Self::Add(here) => (here.data, NodeRequest::Add),
            Self::List(here) => (here.data, NodeRequest::List),
            Self::Withdraw(Which { who, data }) => (data, NodeRequest::Withdraw { who }),
            Self::Block(Block { who, lift, data }) => (data, NodeRequest::Block { who, lift }),
        };
        ask(&data, &Request::Node(request))
    }
}
