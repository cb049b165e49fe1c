/** Of a flag: whole numbers with commas between them. */
export function numbers(flag: string, text: string): number[] {
  return text.split(',').map(one => wholeNumber(flag, one));
}

export function wholeNumber(flag: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`--${flag} ${text}: "${text}" is no whole number`);
  return Number(text);
}
