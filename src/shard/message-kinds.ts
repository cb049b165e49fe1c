/** Kinds of mailbox messages, over all rooms: a number has one meaning in a process. */
export const MessageKind = {
  /** datapath → controller's shard (src/transport) */
  openSession: 1,
  sessionOpened: 2,
  closeSession: 3,
  ioSubmit: 4,
  ioReply: 5,
  ioRelease: 6,
  /** further ranges of the ioSubmit, or ioReply, sent last to the same shard */
  ioSubmitMore: 7,
  ioReplyMore: 8,
  /** answers closeSession: nothing more comes for that path */
  sessionClosed: 9,
  /** a connection moves: its state lies in a structured message, see ShardContext.sendTo */
  structured: 10,
} as const;
