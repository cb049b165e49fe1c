/** Kinds of mailbox messages, over all rooms: a number has one meaning in a process. */
export const MessageKind = {
  /** datapath → controller's shard (src/transport) */
  openSession: 1,
  sessionOpened: 2,
  closeSession: 3,
  ioSubmit: 4,
  ioReply: 5,
  ioRelease: 6,
  /** a connection moves: its state lies in a structured message, see ShardContext.sendTo */
  structured: 10,
} as const;
