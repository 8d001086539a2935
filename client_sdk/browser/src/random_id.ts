/** 128 random bits as hex: a UUID without dashes. `crypto.randomUUID` is missing where a page is not
 * served securely (http on a school's network), `getRandomValues` is not. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
