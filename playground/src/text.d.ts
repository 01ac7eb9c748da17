/** The text of a file, for the page to show. */
declare module '*?text' {
  const text: string;
  export default text;
}
