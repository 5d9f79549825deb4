// The URL of the flag server, and a token of the role client, which is not secret:
// tidegate token create page --role client --environment production
export const server = "http://127.0.0.1:8080";
export const token = "tg_client_...";
