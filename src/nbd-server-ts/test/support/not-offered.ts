/** The server does not offer what is looked at: no fault where the specification leaves it free. */
export class NotOffered extends Error {}
