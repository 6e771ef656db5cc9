// What makes the page live. Without it everything is there too, as of when it was loaded.

import { keepFresh } from "./fresh.js";
import { tickTimes } from "./times.js";
import { changeMind, chooseTheme, filterAtOnce, findWithSlash, sendOnce } from "./habits.js";

const fresh = keepFresh();
tickTimes();
chooseTheme();
findWithSlash();
filterAtOnce(fresh);
sendOnce();
changeMind();
