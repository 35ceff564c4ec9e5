"""Writes dialogues.jsonl, the calibration text: python generate.py > dialogues.jsonl

Everything here was written for this repository: facts anybody may state, arithmetic done on the spot, and made-up
files, orders and meetings for the tools to find. The output depends on nothing but this file, so that the data can be
reviewed by reading it. A dialogue is a chain of exchanges until it is long enough to fill a calibration sample.
"""
# Prose is kept on the line that says it, and seeded randomness is the point.
# ruff: noqa: E501, S311
# fmt: off

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from random import Random
from typing import Any

ROWS = 512
SEED = 20250806
LONG_ENOUGH = 440  # tokens, by the estimate below

Messages = list[dict[str, Any]]
Exchange = Callable[[Random], Messages]


def said(user: str, assistant: str) -> Messages:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


# --- facts ------------------------------------------------------------------------------------------------------------
COUNTRIES = [  # name, 名称, capital, 首都, continent, 洲, currency, 货币
    ("France", "法国", "Paris", "巴黎", "Europe", "欧洲", "euro", "欧元"),
    ("Japan", "日本", "Tokyo", "东京", "Asia", "亚洲", "yen", "日元"),
    ("Brazil", "巴西", "Brasília", "巴西利亚", "South America", "南美洲", "real", "雷亚尔"),
    ("Canada", "加拿大", "Ottawa", "渥太华", "North America", "北美洲", "Canadian dollar", "加元"),
    ("Australia", "澳大利亚", "Canberra", "堪培拉", "Oceania", "大洋洲", "Australian dollar", "澳元"),
    ("Egypt", "埃及", "Cairo", "开罗", "Africa", "非洲", "Egyptian pound", "埃及镑"),
    ("Kenya", "肯尼亚", "Nairobi", "内罗毕", "Africa", "非洲", "Kenyan shilling", "肯尼亚先令"),
    ("Norway", "挪威", "Oslo", "奥斯陆", "Europe", "欧洲", "Norwegian krone", "挪威克朗"),
    ("Poland", "波兰", "Warsaw", "华沙", "Europe", "欧洲", "złoty", "兹罗提"),
    ("India", "印度", "New Delhi", "新德里", "Asia", "亚洲", "Indian rupee", "印度卢比"),
    ("Thailand", "泰国", "Bangkok", "曼谷", "Asia", "亚洲", "baht", "泰铢"),
    ("Vietnam", "越南", "Hanoi", "河内", "Asia", "亚洲", "dong", "越南盾"),
    ("Mexico", "墨西哥", "Mexico City", "墨西哥城", "North America", "北美洲", "Mexican peso", "墨西哥比索"),
    ("Peru", "秘鲁", "Lima", "利马", "South America", "南美洲", "sol", "索尔"),
    ("Switzerland", "瑞士", "Bern", "伯尔尼", "Europe", "欧洲", "Swiss franc", "瑞士法郎"),
    ("New Zealand", "新西兰", "Wellington", "惠灵顿", "Oceania", "大洋洲", "New Zealand dollar", "新西兰元"),
    ("Turkey", "土耳其", "Ankara", "安卡拉", "Asia and Europe", "亚洲和欧洲", "Turkish lira", "土耳其里拉"),
    ("Morocco", "摩洛哥", "Rabat", "拉巴特", "Africa", "非洲", "dirham", "迪拉姆"),
]
ELEMENTS = [  # name, 名称, symbol, number, use, 用途
    ("hydrogen", "氢", "H", 1, "it fuels stars and is used to make ammonia", "恒星的燃料,也用来合成氨"),
    ("helium", "氦", "He", 2, "it cools the magnets of MRI scanners", "冷却核磁共振仪的磁体"),
    ("lithium", "锂", "Li", 3, "it carries charge in rechargeable batteries", "在充电电池中传递电荷"),
    ("carbon", "碳", "C", 6, "it is the backbone of every organic molecule", "一切有机分子的骨架"),
    ("nitrogen", "氮", "N", 7, "it makes up about 78 % of dry air", "约占干燥空气的百分之七十八"),
    ("oxygen", "氧", "O", 8, "most animals need it to release energy from food", "多数动物靠它从食物中获得能量"),
    ("sodium", "钠", "Na", 11, "with chlorine it forms table salt", "与氯结合成为食盐"),
    ("aluminium", "铝", "Al", 13, "it is light and resists corrosion, so aircraft are built of it", "质轻耐蚀,用来制造飞机"),
    ("silicon", "硅", "Si", 14, "it is the base material of most chips", "大多数芯片的基础材料"),
    ("iron", "铁", "Fe", 26, "alloyed with carbon it becomes steel", "与碳熔合成钢"),
    ("copper", "铜", "Cu", 29, "it conducts electricity well and is drawn into wire", "导电良好,常拉成导线"),
    ("silver", "银", "Ag", 47, "it conducts electricity better than any other metal", "导电性在金属中最好"),
    ("tin", "锡", "Sn", 50, "it is a main part of solder", "焊料的主要成分"),
    ("tungsten", "钨", "W", 74, "it has the highest melting point of all metals", "熔点在金属中最高"),
    ("gold", "金", "Au", 79, "it does not tarnish, so contacts are plated with it", "不生锈,常用来镀触点"),
    ("lead", "铅", "Pb", 82, "it shields against X-rays", "可以屏蔽X射线"),
]
PLANETS = [  # name, 名称, million km from the sun, days of a year, moons note
    ("Mercury", "水星", 58, 88), ("Venus", "金星", 108, 225), ("Earth", "地球", 150, 365), ("Mars", "火星", 228, 687),
    ("Jupiter", "木星", 778, 4333), ("Saturn", "土星", 1427, 10759), ("Uranus", "天王星", 2871, 30687),
    ("Neptune", "海王星", 4495, 60190),
]
STATUS = [
    (200, "OK", "the request worked and the body holds the result", "请求成功,正文就是结果"),
    (201, "Created", "a new resource exists; its address is often in Location", "新资源已建立,地址常在Location里"),
    (204, "No Content", "it worked and there is nothing to return", "成功,但没有内容可返回"),
    (301, "Moved Permanently", "clients should use the new address from now on", "资源已永久搬家,以后请用新地址"),
    (304, "Not Modified", "the copy that the client cached is still good", "客户端缓存的副本仍然有效"),
    (400, "Bad Request", "the server cannot make sense of the request", "服务器看不懂这个请求"),
    (401, "Unauthorized", "credentials are missing or wrong", "缺少凭据,或者凭据有误"),
    (403, "Forbidden", "the server knows who you are and still refuses", "服务器知道你是谁,但仍然拒绝"),
    (404, "Not Found", "nothing lives at this address", "这个地址上什么也没有"),
    (409, "Conflict", "the request clashes with the present state", "请求与当前状态冲突"),
    (413, "Content Too Large", "the body exceeds what the server takes", "正文超过了服务器的上限"),
    (429, "Too Many Requests", "slow down, and look for Retry-After", "请求过于频繁,请看Retry-After再试"),
    (500, "Internal Server Error", "the server failed in a way it did not foresee", "服务器内部出了意料之外的错"),
    (502, "Bad Gateway", "a proxy got a broken answer from behind it", "代理从后端得到了坏的回答"),
    (503, "Service Unavailable", "overloaded or starting; trying later makes sense", "过载或正在启动,稍后再试"),
]
COMMANDS = [
    ("grep -rn 'TODO' src/", "searches every file below src for TODO and prints file, line number and line"),
    ("du -sh * | sort -h", "shows how much space each entry takes, smallest first"),
    ("tar -czf backup.tar.gz docs/", "packs docs into a gzip-compressed archive"),
    ("find . -name '*.log' -mtime +7 -delete", "deletes log files that were last changed more than seven days ago"),
    ("ss -ltnp", "lists listening TCP sockets with the process that owns each"),
    ("journalctl -u nginx --since '1 hour ago'", "prints the last hour of the nginx unit's log"),
    ("git log --oneline -n 10", "shows the last ten commits, one line each"),
    ("chmod 640 secrets.env", "lets the owner read and write, the group read, and nobody else do anything"),
    ("rsync -a --delete src/ host:/srv/app/", "makes the remote folder an exact copy of src"),
    ("awk '{s += $3} END {print s}' data.txt", "adds up the third column"),
    ("curl -fsS https://example.com/health", "fetches a page quietly but fails with an error on an HTTP error status"),
    ("kill -TERM 4242", "asks process 4242 to end, giving it the chance to clean up"),
    ("ln -s /opt/app/current/bin/app /usr/local/bin/app", "makes a symbolic link, so that the command is on the path"),
    ("wc -l *.py", "counts the lines of each Python file and their total"),
]
EXPLAIN_EN = [
    ("Why is the sky blue, and why are sunsets red?",
     "Sunlight contains all colours. Air molecules are much smaller than the wavelength of light and scatter short "
     "wavelengths far more strongly than long ones; the effect grows with the inverse fourth power of the wavelength. "
     "Blue light is therefore sent in every direction and reaches your eye from the whole sky. Violet is scattered "
     "even more, but the sun emits less of it and our eyes are less sensitive to it.\n\nAt sunset the light crosses a "
     "much longer stretch of air. Most of the blue has been scattered out of the direct beam by the time it arrives, "
     "so what remains looks orange or red."),
    ("How does a vaccine train the immune system?",
     "A vaccine shows the immune system a harmless piece of a pathogen, or instructions for making such a piece. "
     "Cells that present antigens carry it to the lymph nodes, where the few B and T cells whose receptors happen to "
     "fit it are activated and multiply. B cells mature and make antibodies that bind better and better; some of them "
     "and some T cells stay behind as memory cells.\n\nWhen the real pathogen arrives, these memory cells respond "
     "within days instead of weeks, usually before the illness becomes severe."),
    ("What is the difference between a process and a thread?",
     "A process is a running program with its own address space, open files and permissions. A thread is a path of "
     "execution inside a process; all threads of one process share its memory.\n\n- **Isolation**: a crash in one "
     "process leaves the others alone, while a stray write in one thread can corrupt all of them.\n- **Cost**: starting "
     "a thread is cheaper, and switching between threads of one process keeps the caches warmer.\n- **Communication**: "
     "threads read the same variables and need locks; processes exchange messages through pipes, sockets or shared "
     "memory that they set up explicitly."),
    ("Explain how public-key encryption lets strangers talk safely.",
     "Each person has two keys that belong together: a public one, which anyone may know, and a private one, which "
     "never leaves its owner. What is encrypted with the public key can only be decrypted with the private key. So I "
     "can look up your public key and send you a message that nobody else can read, although we never met.\n\nThe same "
     "pair works the other way round for signatures: you sign with the private key, and anyone can check the signature "
     "with the public one. In practice the slow public-key step only agrees on a short symmetric key, and that key "
     "encrypts the bulk of the data. What remains is the question whose key it is, which certificates answer."),
    ("How does a database index make a query faster?",
     "Without an index the database reads every row and tests the condition. An index keeps the values of a column in "
     "order, usually in a B-tree, together with a pointer to each row. A search walks from the root to a leaf, and "
     "because every node has hundreds of children, a table of a hundred million rows is only four or five levels "
     "deep.\n\nIndexes are not free: each insert, update and delete must maintain them, and they take space. They "
     "help most with selective conditions, with sorting, and with joins. If a condition matches half of the table, a "
     "plain scan is often faster."),
    ("What causes the seasons?",
     "The Earth's axis is tilted by about 23.4 degrees against its orbit, and it points in the same direction all year. "
     "In June the northern hemisphere leans towards the sun: the sun climbs higher, its light falls more steeply, and "
     "days are longer, so the ground receives more energy. In December the southern hemisphere is favoured.\n\nThe "
     "distance to the sun is not the reason. The Earth is in fact closest in early January, in the middle of the "
     "northern winter."),
    ("Can you explain what inflation is and why central banks care?",
     "Inflation means that the general level of prices rises, so a unit of money buys less. It is measured by the "
     "price of a fixed basket of goods and services. A little of it, around two per cent a year, is what many central "
     "banks aim for: it leaves room to lower interest rates in a downturn and keeps people from postponing purchases.\n\n"
     "When inflation is high and uncertain, contracts and savings become hard to plan and people on fixed incomes "
     "lose. Raising interest rates makes borrowing dearer, which cools demand and, after a year or so, prices. The art "
     "is to do enough without causing unemployment that was not needed."),
    ("Why does bread rise?",
     "Yeast is a single-celled fungus. In the dough it feeds on sugars that enzymes release from the flour's starch, "
     "and gives off carbon dioxide and a little alcohol. Kneading links two wheat proteins, gliadin and glutenin, into "
     "gluten, an elastic net that traps the gas in bubbles, so the dough grows.\n\nIn the oven the gas expands, the "
     "yeast works faster for a few minutes and then dies at about 60 °C. Soon afterwards the proteins set and the starch "
     "stiffens, which fixes the crumb. The crust browns because amino acids and sugars react above roughly 140 °C."),
    ("How do noise-cancelling headphones work?",
     "A microphone on each cup picks up the sound outside. The electronics compute a wave of the same shape with "
     "opposite sign and add it to the music. Where the two meet at the ear, pressure peaks coincide with troughs and "
     "the noise largely disappears.\n\nIt works best for steady low sounds such as engines, because a long wave "
     "leaves time to react and stays in phase over the width of an ear. Sudden or high-pitched sounds, such as "
     "voices, are mostly held back by the padding, not by the electronics."),
    ("What should I know before I start composting?",
     "A good heap balances two kinds of material. *Greens* such as kitchen scraps and grass are rich in nitrogen; "
     "*browns* such as dry leaves, straw and cardboard are rich in carbon. Use about two to three parts of brown to "
     "one part of green by volume.\n\n1. Start on bare soil so that worms can move in.\n2. Chop large pieces; small "
     "ones rot faster.\n3. Keep it as moist as a wrung-out sponge.\n4. Turn it every couple of weeks to let air in.\n"
     "5. Leave out meat, dairy and glossy paper.\n\nIf it smells of ammonia, add browns; if nothing happens, add "
     "greens and water. After six to twelve months it is dark, crumbly and smells of forest."),
    ("What is the difference between TCP and UDP? When would I use each?",
     "TCP sets up a connection, numbers every byte, repeats what is lost and delivers everything in order. It also "
     "slows down when the network is congested. UDP sends single datagrams and promises nothing: they may be lost, "
     "doubled or arrive out of order.\n\nUse TCP, or something built on it, for web pages, files, mail and databases, "
     "where every byte counts. Use UDP where a late packet is worthless, as in voice calls and games, for short "
     "questions such as DNS, or as the base of a protocol that does its own repair. QUIC, which carries HTTP/3, is "
     "the best-known example of the last kind."),
    ("Explain the idea behind natural selection in simple terms.",
     "Three observations are enough. First, individuals of a species differ, and some of the differences are "
     "inherited. Second, more offspring are born than can survive. Third, some variants help their owners survive and "
     "reproduce a little better in their surroundings.\n\nIt follows that helpful variants become more common from "
     "generation to generation. Nobody steers the process and it has no goal; what is helpful depends on the "
     "environment, and when that changes, so does the direction. Over very many generations small steps add up to "
     "eyes, wings and new species."),
    ("Why do we test software automatically if we also test it by hand?",
     "A person who tries a feature notices things nobody thought of: a confusing label, a slow page, an odd order of "
     "steps. But people tire, and nobody repeats two hundred checks after each small change.\n\nAutomatic tests do "
     "exactly that. They pin down what must stay true, tell you within minutes which change broke it, and make it "
     "safe to rewrite old code. They also document behaviour in a form that cannot go stale unnoticed. The two "
     "complement each other: machines guard what is known, people explore what is not."),
    ("How does a refrigerator move heat from cold to warm?",
     "It uses work to do so. A compressor squeezes a refrigerant vapour, which heats it. In the coils at the back the "
     "hot vapour gives its heat to the room and becomes liquid. The liquid passes a narrow valve, its pressure "
     "falls, and part of it evaporates at once, which makes it very cold. In the coils inside it evaporates fully "
     "and takes up heat from the food. The vapour returns to the compressor.\n\nThe heat given to the kitchen is "
     "the heat taken from the inside plus the electrical work, which is why an open refrigerator warms a room."),
]
EXPLAIN_ZH = [
    ("为什么天空是蓝色的,而夕阳是红色的?",
     "阳光里包含各种颜色的光。空气分子比光的波长小得多,对短波的散射远强于长波,强度与波长的四次方成反比,所以蓝光被散射到四面八方,我们抬头看到的"
     "整个天空都是蓝的。紫光虽然散射得更强,但太阳发出的紫光较少,人眼对它也不够敏感。\n\n日落时,阳光要穿过厚得多的大气层,蓝光在途中几乎都被散射掉了,"
     "剩下直接射来的光便偏橙偏红。"),
    ("请用通俗的话解释一下什么是数据库索引。",
     "可以把索引想成一本书后面的关键词目录。没有目录,要找一个词只能从第一页翻到最后一页;有了目录,先按拼音找到这个词,再翻到对应的页码就行。\n\n"
     "数据库的索引通常是一棵B树,把某一列的值排好序,并记下每个值所在的行。每个节点有几百个分支,所以上亿行的表也只有四五层。代价是写入时要同时维护索引,"
     "还要占用空间。因此索引应建在经常用来筛选、排序和连接的列上,而不是每一列都建。"),
    ("进程和线程有什么区别?",
     "进程是正在运行的程序,拥有自己的地址空间、打开的文件和权限;线程是进程内部的一条执行路径,同一进程的线程共享内存。\n\n"
     "1. 隔离性:一个进程崩溃不会影响别的进程,而一个线程写坏内存,可能让整个进程出错。\n2. 开销:创建和切换线程比进程便宜。\n"
     "3. 通信:线程可以直接读写共享变量,但需要加锁;进程之间要通过管道、套接字或共享内存交换数据。"),
    ("二十四节气是什么?今天还有用吗?",
     "二十四节气是中国古人根据太阳在黄道上的位置划分的二十四个时间点,每隔十五度为一个节气,从立春开始,到大寒结束。它反映气温、降水和物候的变化,"
     "例如“惊蛰”表示春雷始鸣、昆虫苏醒,“霜降”表示天气渐冷、开始有霜。\n\n因为它依据太阳而不是月亮,所以在公历里的日期几乎固定,前后只差一两天。"
     "今天的农民仍用它来安排播种和收割,许多地方的饮食和习俗也与它有关,比如冬至吃饺子或汤圆。二〇一六年,它被联合国教科文组织列入人类非物质文化遗产。"),
    ("怎样才能养成阅读的习惯?",
     "先把目标定得小一些,每天读十页或者十五分钟,比“一周读完一本书”更容易坚持。\n\n- **固定时间和地点**:例如睡前把手机放到另一个房间,床头只放一本书。\n"
     "- **选自己真正想读的书**:读不下去可以放弃,不必每本都读完。\n- **做一点记录**:写下一句喜欢的话,或者用三句话概括一章,记忆会深得多。\n"
     "- **找同伴**:和朋友约定同读一本书,每月聊一次。\n\n习惯靠的是重复,不是意志力。哪怕某天只读了一页,也算没有中断。"),
    ("电脑为什么用二进制,而不用十进制?",
     "电路最容易可靠地区分两种状态:有电压和没有电压。如果要用十个不同的电压表示十个数字,稍有噪声就会认错;只分两档,余量就大得多,电路也简单。\n\n"
     "二进制的运算规则也少,加法只有四种情况,逻辑上的“真”和“假”正好对应一和零,所以计算与逻辑可以用同一种元件实现。人看到的十进制,只是显示时转换的结果。"),
    ("请介绍一下长城。",
     "长城是中国古代为防御北方游牧民族而修筑的军事工程。春秋战国时期,各诸侯国就已修筑城墙;秦统一后把北方的几段连接起来。今天看到的大部分砖石长城建于明朝。"
     "根据国家文物局二〇一二年公布的数据,历代长城遗迹总长度超过两万一千公里,分布在十五个省、自治区和直辖市。\n\n它不只是一道墙,还包括关城、烽火台和驻军的营堡。"
     "白天燃烟、夜间举火,可以很快传递敌情。一九八七年,长城被列入世界遗产名录。至于“在月球上能看见长城”的说法,并不正确。"),
    ("做饭时怎样让青菜保持翠绿?",
     "叶绿素在酸和长时间加热下会变成黄褐色,所以关键是快。\n\n1. 锅要烧热,油温够高再下菜,大火快炒一两分钟。\n2. 不要盖锅盖,让菜里的有机酸随蒸汽跑掉。\n"
     "3. 盐最后放,放早了会出水。\n4. 如果焯水,水要多、要滚,可以加一点盐和几滴油,捞出后立刻过凉水。\n\n另外,菜洗净后沥干再下锅,否则水汽会让锅里的温度掉下来,炒成了煮。"),
    ("为什么要备份数据?有什么好的做法?",
     "硬盘会坏,电脑会丢,文件会被误删,也可能遭到勒索软件加密。没有备份,这些都是不可挽回的损失。\n\n常用的原则叫“三二一”:至少三份数据,存放在两种不同的介质上,"
     "其中一份放在别的地方。自动化很重要,靠人记住的备份迟早会断。还有一点常被忽略:定期试着恢复一次。从没恢复过的备份,只能算一种希望。"),
    ("潮汐是怎么形成的?",
     "潮汐主要由月球的引力造成,太阳也有影响。离月球近的一侧,海水受到的引力比地心略大,于是向月球方向隆起;远的一侧受到的引力比地心略小,相对地也隆起。"
     "地球自转一周,一个地点先后经过两个隆起处,所以大多数海岸每天有两次涨潮、两次落潮。\n\n新月和满月时,太阳、月球和地球差不多在一条直线上,两种引力叠加,潮差最大,"
     "称为大潮;上弦月和下弦月时互成直角,潮差最小,称为小潮。海岸的形状会放大或减弱这种变化,钱塘江的涌潮就是喇叭形海湾造成的。"),
    ("面试时被问到“你的缺点是什么”,应该怎么回答?",
     "面试官想知道的是你是否了解自己、是否在改进,而不是想听一个完美的答案。可以按三步来说:\n\n1. 说一个真实但不致命的缺点,例如“我以前不善于拒绝,手上的事情会越积越多”。\n"
     "2. 说它带来过什么影响,用一个具体的例子。\n3. 说你做了什么来改变,结果如何,例如“现在我会先问清截止日期和优先级,再决定接不接,去年的项目都按时完成了”。\n\n"
     "不要用“我太追求完美”这类听起来像夸自己的话,也不要说与岗位核心要求直接冲突的缺点。"),
]
IDIOMS = [
    ("画蛇添足", "战国时楚国有人比赛画蛇,先画完的人给蛇添上脚,结果输了酒", "做了多余的事,反而坏了事"),
    ("守株待兔", "宋国农夫捡到一只撞死在树桩上的兔子,从此放下锄头天天守着树桩", "不努力而指望侥幸得到收获"),
    ("亡羊补牢", "有人丢了羊才去修补羊圈,从此羊不再丢失", "出了问题及时补救,还不算晚"),
    ("井底之蛙", "井里的青蛙以为天只有井口那么大,海龟告诉它大海有多宽", "眼界狭窄、见识短浅的人"),
    ("刻舟求剑", "楚人的剑掉进江里,他在船边刻下记号,等船停了才从记号处下水去找", "不懂得随情况变化而改变做法"),
    ("塞翁失马", "边塞老人丢了马,马却带回一匹骏马,儿子骑马摔断了腿,又因此免于征战", "坏事可能变成好事,好事也可能变成坏事"),
    ("愚公移山", "愚公决心世世代代挖下去,搬走门前的两座大山", "有毅力就能克服很大的困难"),
    ("滥竽充数", "南郭先生不会吹竽,混在三百人的乐队里,后来新王要一个个听,他只好逃走", "没有真本领的人混在行家里凑数"),
]
PAIRS = [
    ("The meeting has been moved to Thursday afternoon.", "会议改到星期四下午了。"),
    ("Please back up your data before you update the system.", "更新系统之前请先备份数据。"),
    ("She has lived in this city for more than ten years.", "她在这座城市住了十多年。"),
    ("The library closes at nine, but the reading room stays open all night.", "图书馆九点关门,但自习室通宵开放。"),
    ("If it rains tomorrow, we will visit the museum instead.", "如果明天下雨,我们就改去博物馆。"),
    ("This medicine should be taken after meals, twice a day.", "这种药应该饭后服用,一天两次。"),
    ("He apologised for being late and explained that the train had been delayed.", "他为迟到道歉,并解释说火车晚点了。"),
    ("Could you tell me how to get to the nearest subway station?", "请问去最近的地铁站怎么走?"),
    ("The price includes breakfast and free parking.", "价格包含早餐和免费停车。"),
    ("Practice a little every day rather than a lot once a week.", "与其一周练一次,不如每天练一点。"),
]
PEOPLE = ["Amara", "Bruno", "Chen", "Daria", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Keiko", "Lars", "Mina"]
PEOPLE_ZH = ["小王", "小李", "张敏", "陈强", "刘洋", "赵老师", "孙悦", "周杰", "吴婷", "郑先生"]
GOODS = [("notebook", "笔记本"), ("lamp", "台灯"), ("keyboard", "键盘"), ("teapot", "茶壶"), ("backpack", "背包"),
         ("umbrella", "雨伞"), ("desk chair", "办公椅"), ("water bottle", "水杯"), ("headset", "耳机")]


# --- plain exchanges, English -----------------------------------------------------------------------------------------
def explain_en(rng: Random) -> Messages:
    return said(*rng.choice(EXPLAIN_EN))


def shopping_en(rng: Random) -> Messages:
    name, (item, _), (other, _) = rng.choice(PEOPLE), *rng.sample(GOODS, 2)
    count, more, price, dear, off = rng.randint(2, 9), rng.randint(1, 5), rng.randint(3, 40), rng.randint(15, 90), 5 * rng.randint(1, 6)
    total = count * price + more * dear
    paid = total * (100 - off) / 100
    return said(
        f"{name} buys {count} {item}s at ${price} each and {more} {other}s at ${dear} each. The shop takes {off}% off the "
        "whole order. How much does the order cost?",
        f"Let's go step by step.\n\n1. {item.capitalize()}s: {count} × ${price} = ${count * price}\n2. {other.capitalize()}s: "
        f"{more} × ${dear} = ${more * dear}\n3. Before the discount: ${count * price} + ${more * dear} = ${total}\n4. The discount "
        f"is {off}% of ${total}, that is ${total * off / 100:.2f}\n5. To pay: ${total} − ${total * off / 100:.2f} = "
        f"${paid:.2f}\n\n**{name} pays ${paid:.2f}.**",
    )


def interest_en(rng: Random) -> Messages:
    start, rate, years = 500 * rng.randint(2, 40), rng.choice([1.5, 2, 2.5, 3, 4, 5, 6]), rng.randint(3, 6)
    rows = "\n".join(f"| {year} | {start * (1 + rate / 100) ** year:,.2f} |" for year in range(years + 1))
    end = start * (1 + rate / 100) ** years
    return said(
        f"I put {start:,} euros into an account at {rate}% a year, compounded yearly. Show me the balance for {years} years as a table.",
        f"Each year the balance is multiplied by {1 + rate / 100:g}, so after *n* years it is {start:,} × {1 + rate / 100:g}ⁿ.\n\n"
        f"| year | balance (€) |\n| ---: | ---: |\n{rows}\n\nAfter {years} years you have {end:,.2f} euros; {end - start:,.2f} of "
        f"it is interest. With simple interest it would be {start * rate / 100 * years:,.2f}: the difference is interest on interest.",
    )


def numbers_en(rng: Random) -> Messages:
    data = [rng.randint(10, 99) for _ in range(rng.choice([5, 7, 9]))]
    ordered = sorted(data)
    return said(
        f"Here are some measurements: {', '.join(map(str, data))}. Give me mean, median, range and population standard deviation.",
        f"Sorted: {', '.join(map(str, ordered))}.\n\n- **Mean**: {sum(data)} / {len(data)} = {statistics.mean(data):.2f}\n- **Median**: "
        f"the middle value, {statistics.median(data)}\n- **Range**: {ordered[-1]} − {ordered[0]} = {ordered[-1] - ordered[0]}\n- "
        f"**Standard deviation**: the square root of the mean squared distance from the mean, {statistics.pstdev(data):.2f}",
    )


def calendar_en(rng: Random) -> Messages:
    start = date(2020, 1, 1) + timedelta(days=rng.randrange(3000))
    days = rng.randint(20, 200)
    end = start + timedelta(days=days)
    return said(
        f"A project starts on {start:%A}, {start.day} {start:%B %Y} and runs for {days} days. On which date and weekday does it end?",
        f"{days} days are {days // 7} full weeks and {days % 7} days, so the weekday moves on by {days % 7} from {start:%A} to "
        f"{end:%A}. Counting {days} days from {start.day} {start:%B %Y} gives **{end:%A}, {end.day} {end:%B %Y}** ({end.isoformat()} in "
        f"ISO form). {end.year} is {'a' if end.year % 4 == 0 else 'not a'} leap year, so its February has "
        f"{29 if end.year % 4 == 0 else 28} days.",
    )


def bases_en(rng: Random) -> Messages:
    n, a, b = rng.randint(33, 4095), rng.randint(12, 400), rng.randint(12, 400)
    steps, x, y = [], max(a, b), min(a, b)
    while y:
        steps.append(f"{x} = {x // y} × {y} + {x % y}")
        x, y = y, x % y
    listing = "\n".join(steps)
    return said(
        f"Write {n} in binary, octal and hexadecimal, and find the greatest common divisor of {a} and {b}.",
        f"- Binary: `{n:b}`\n- Octal: `{n:o}`\n- Hexadecimal: `{n:X}`\n\nFor the greatest common divisor, Euclid's algorithm "
        f"divides until nothing remains:\n\n```\n{listing}\n```\n\nThe last divisor is {math.gcd(a, b)}, so "
        f"gcd({a}, {b}) = **{math.gcd(a, b)}** and the least common multiple is {a * b} / {math.gcd(a, b)} = {math.lcm(a, b)}.",
    )


def facts_en(rng: Random) -> Messages:
    lines = [f"| {c[0]} | {c[2]} | {c[4]} | {c[6]} |" for c in rng.sample(COUNTRIES, 4)]
    element = rng.choice(ELEMENTS)
    near, far = sorted(rng.sample(range(len(PLANETS)), 2))
    (p, _, d1, y1), (q, _, d2, y2) = PLANETS[near], PLANETS[far]
    names = ", ".join(line.split(" | ")[0][2:] for line in lines)
    return rng.choice(
        [
            said(
                f"Make a table of capital, continent and currency for {names}.",
                "| country | capital | continent | currency |\n| --- | --- | --- | --- |\n" + "\n".join(lines),
            ),
            said(
                f"What is {element[0]}, in two sentences?",
                f"{element[0].capitalize()} is the chemical element with the symbol {element[2]} and atomic number {element[3]}, so each "
                f"of its atoms has {element[3]} proton{'s' * (element[3] > 1)}. Worth knowing: {element[4]}.",
            ),
            said(
                f"Compare the orbits of {p} and {q}.",
                f"{p} circles the sun at about {d1} million km and takes about {y1:,} Earth days for one round; {q} at about {d2:,} million km "
                f"takes about {y2:,}. {q} is {d2 / d1:.1f} times as far out but needs {y2 / y1:.1f} times as long. That is Kepler's third law: "
                "the square of the period grows with the cube of the distance, so outer planets move more slowly on a longer way.",
            ),
        ]
    )


def terminal_en(rng: Random) -> Messages:
    picks = rng.sample(COMMANDS, 3)
    codes = rng.sample(STATUS, 4)
    return rng.choice(
        [
            said(
                "What do these commands do?\n\n```sh\n" + "\n".join(command for command, _ in picks) + "\n```",
                "\n".join(f"{n}. `{command}` {what}." for n, (command, what) in enumerate(picks, 1)),
            ),
            said(
                f"Explain the HTTP status codes {', '.join(str(code) for code, *_ in codes)} to a beginner.",
                "\n".join(f"- **{code} {name}**: {what}." for code, name, what, _ in codes)
                + "\n\nThe first digit tells the family: 2 worked, 3 look elsewhere, 4 the client's fault, 5 the server's.",
            ),
        ]
    )


def code_en(rng: Random) -> Messages:
    data = rng.sample(range(1, 60), 6)
    limit = rng.randint(20, 60)
    primes = [n for n in range(2, limit + 1) if all(n % d for d in range(2, math.isqrt(n) + 1))]
    words = rng.sample(["river", "stone", "level", "civic", "lamp", "noon", "paper", "radar", "garden", "kayak"], 4)
    ordered, target = sorted(data), rng.choice(data)
    low, high, trace = 0, len(ordered) - 1, []
    while low <= high:
        middle = (low + high) // 2
        trace.append(f"low={low}, high={high}, middle={middle}: {ordered[middle]}")
        if ordered[middle] == target:
            break
        low, high = (middle + 1, high) if ordered[middle] < target else (low, middle - 1)
    shown = "\n".join(trace)
    return rng.choice(
        [
            said(
                f"Write a Python function that returns all primes up to n, and show its result for {limit}.",
                "The sieve of Eratosthenes crosses out multiples and needs no division:\n\n```python\ndef primes(n: int) -> list[int]:\n"
                '    """All primes up to and including n, in order."""\n    composite = bytearray(n + 1)\n    found = []\n'
                "    for k in range(2, n + 1):\n        if not composite[k]:\n            found.append(k)\n"
                "            for multiple in range(k * k, n + 1, k):\n                composite[multiple] = 1\n    return found\n```\n\n"
                f"`primes({limit})` returns `{primes}`. It starts crossing out at k², because smaller multiples of k have a smaller "
                "prime factor and are gone already. Time is O(n log log n), memory one byte a number.",
            ),
            said(
                f"Trace binary search for {target} in {ordered}.",
                f"```python\ndef find(items, target):\n    low, high = 0, len(items) - 1\n    while low <= high:\n"
                "        middle = (low + high) // 2\n        if items[middle] == target:\n            return middle\n"
                "        if items[middle] < target:\n            low = middle + 1\n        else:\n            high = middle - 1\n"
                f"    return None\n```\n\n```\n{shown}\n```\n\nIt returns index {ordered.index(target)} after {len(trace)} "
                f"comparison{'s' * (len(trace) > 1)}. Each step halves what is left, so a million items need at most twenty.",
            ),
            said(
                f"In Python, which of {words} are palindromes, and how do I sort them by length and then alphabetically?",
                f"```python\nwords = {words}\npalindromes = [w for w in words if w == w[::-1]]\nwords.sort(key=lambda w: (len(w), w))\n```\n\n"
                f"`palindromes` is `{[w for w in words if w == w[::-1]]}` and `words` becomes `{sorted(words, key=lambda w: (len(w), w))}`. "
                "`w[::-1]` walks the string backwards, and a tuple as the key compares its parts one after the other.",
            ),
            said(
                "My script fails with `KeyError: 'email'` on some rows. How should I handle that?",
                "The dictionary for those rows has no key `email`. Decide what a missing address means before you silence the error.\n\n"
                "- If it is optional, read it with `row.get('email')` and handle `None` explicitly.\n- If it is required, fail with a message "
                "that helps:\n\n```python\ntry:\n    email = row['email']\nexcept KeyError:\n    raise ValueError(f'line {number}: email is "
                "missing; columns are {sorted(row)}') from None\n```\n\nAlso check the header: a stray space or a byte order mark turns `email` "
                "into a different key. Opening the file with `encoding='utf-8-sig'` removes the mark.",
            ),
        ]
    )


def order_en(rng: Random) -> Messages:
    name, city = rng.choice(PEOPLE), rng.choice(COUNTRIES)[2]
    items = [(item, rng.randint(1, 5), rng.randint(4, 60) + 0.5) for item, _ in rng.sample(GOODS, rng.randint(2, 3))]
    number, day = f"A-{rng.randint(1000, 9999)}", date(2025, 1, 1) + timedelta(days=rng.randrange(360))
    text = ", ".join(f"{count} × {item} at {price:.2f}" for item, count, price in items)
    record = {
        "order": number,
        "customer": name,
        "city": city,
        "date": day.isoformat(),
        "items": [{"name": item, "count": count, "price": price} for item, count, price in items],
        "total": round(sum(count * price for _, count, price in items), 2),
    }
    return said(
        f"Turn this note into JSON with order, customer, city, date, items and total:\n\n> Order {number} from {name} in {city}, placed on "
        f"{day.day} {day:%B %Y}: {text}.",
        f"```json\n{json.dumps(record, ensure_ascii=False, indent=2)}\n```",
    )


def letter_en(rng: Random) -> Messages:
    sender, receiver = rng.sample(PEOPLE, 2)
    day = rng.choice(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"])
    thing, why = rng.choice(
        [
            ("the quarterly report", "the sales figures for the north region arrived only yesterday"),
            ("the test results", "two of the machines had to be repaired"),
            ("the translation of the manual", "the second chapter changed after I had finished it"),
            ("the budget draft", "the travel costs still have to be confirmed"),
        ]
    )
    return said(
        f"Write a short, polite email from {sender} to {receiver}: {thing} will be late and come by {day}, because {why}.",
        f"Subject: {thing.removeprefix('the ').capitalize()} will arrive on {day}\n\nDear {receiver},\n\nI am sorry to tell you that {thing} "
        f"will take a little longer than planned: {why}. I want to get it right rather than send you something that has to be corrected "
        f"afterwards.\n\nYou will have it by {day} at noon. If you need parts of it sooner, let me know which, and I will send them as they "
        f"are.\n\nThank you for your patience.\n\nBest regards,\n{sender}",
    )


def minutes_en(rng: Random) -> Messages:
    a, b, c = rng.sample(PEOPLE, 3)
    hours, share, users = rng.randint(2, 9), rng.randint(10, 45), 50 * rng.randint(4, 60)
    return said(
        f"Summarise these notes in three bullets and list the tasks.\n\n{a} reported that the nightly import took {hours} hours, mostly "
        f"because every row is looked up separately. {b} proposed to load in batches and expects to save about {share} %. {c} reminded "
        f"everybody that {users} users see stale prices until the import is done, and asked for a status page. They agreed that {b} builds a "
        f"prototype by Friday, {a} measures it on last week's data, and {c} drafts the text of the status page.",
        f"**Summary**\n\n- The nightly import takes {hours} hours because rows are looked up one at a time.\n- Loading in batches should make "
        f"it about {share} % shorter.\n- Until it finishes, {users} users see stale prices, so a status page is wanted.\n\n**Tasks**\n\n"
        f"| who | what | when |\n| --- | --- | --- |\n| {b} | prototype of batch loading | Friday |\n| {a} | measure it on last week's data | "
        f"after the prototype |\n| {c} | draft the status page's text | open |",
    )


def translate_en(rng: Random) -> Messages:
    picks = rng.sample(PAIRS, 3)
    return said(
        "Translate into Chinese:\n" + "\n".join(f"{n}. {en}" for n, (en, _) in enumerate(picks, 1)),
        "\n".join(f"{n}. {zh}" for n, (_, zh) in enumerate(picks, 1)),
    )


# --- plain exchanges, Chinese -----------------------------------------------------------------------------------------
def explain_zh(rng: Random) -> Messages:
    return said(*rng.choice(EXPLAIN_ZH))


def shopping_zh(rng: Random) -> Messages:
    name, (_, item), (_, other) = rng.choice(PEOPLE_ZH), *rng.sample(GOODS, 2)
    count, more, price, dear = rng.randint(2, 9), rng.randint(1, 5), rng.randint(8, 60), rng.randint(30, 200)
    off = rng.choice([7, 8, 9])
    total = count * price + more * dear
    return said(
        f"{name}买了{count}个{item},每个{price}元,又买了{more}个{other},每个{dear}元。全单打{off}折,一共要付多少钱?",
        f"我们一步一步来算:\n\n1. {item}:{count} × {price} = {count * price}元\n2. {other}:{more} × {dear} = {more * dear}元\n"
        f"3. 折前合计:{count * price} + {more * dear} = {total}元\n4. 打{off}折就是乘以0.{off}:{total} × 0.{off} = {total * off / 10:.1f}元\n\n"
        f"**所以{name}一共要付{total * off / 10:.1f}元**,比原价省了{total - total * off / 10:.1f}元。",
    )


def travel_zh(rng: Random) -> Messages:
    name, speed, hours, rest = rng.choice(PEOPLE_ZH), 5 * rng.randint(12, 22), rng.randint(2, 6), 5 * rng.randint(2, 8)
    minutes = hours * 60 + rest
    return said(
        f"{name}开车去外地,平均时速{speed}公里,开了{hours}小时,中途休息了{rest}分钟。全程多少公里?如果早上八点出发,几点能到?",
        f"路程等于速度乘以行驶的时间,休息的时候车没有动,所以不算在内:\n\n{speed} × {hours} = {speed * hours}公里。\n\n到达时间要把休息也算上:"
        f"{hours}小时加{rest}分钟,一共{minutes}分钟。从八点算起,{(480 + minutes) // 60}点{(480 + minutes) % 60:02d}分到达。"
        f"\n\n答:全程{speed * hours}公里,{(480 + minutes) // 60}点{(480 + minutes) % 60:02d}分能到。",
    )


def idiom_zh(rng: Random) -> Messages:
    word, story, meaning = rng.choice(IDIOMS)
    return said(
        f"“{word}”这个成语是什么意思?有什么来历?",
        f"“{word}”的来历是这样的:{story}。后来人们用它来比喻{meaning}。\n\n使用时要注意语境:它多用在评论别人的做法,或者提醒自己的时候,"
        "书面语和口语里都常见。",
    )


def facts_zh(rng: Random) -> Messages:
    picks, element = rng.sample(COUNTRIES, 4), rng.choice(ELEMENTS)
    near, far = sorted(rng.sample(range(len(PLANETS)), 2))
    (_, p, d1, y1), (_, q, d2, y2) = PLANETS[near], PLANETS[far]
    codes = rng.sample(STATUS, 3)
    return rng.choice(
        [
            said(
                f"请用表格列出{'、'.join(c[1] for c in picks)}的首都、所在的洲和货币。",
                "| 国家 | 首都 | 洲 | 货币 |\n| --- | --- | --- | --- |\n" + "\n".join(f"| {c[1]} | {c[3]} | {c[5]} | {c[7]} |" for c in picks),
            ),
            said(
                f"介绍一下元素{element[1]}。",
                f"{element[1]}的元素符号是{element[2]},原子序数是{element[3]},也就是说每个原子核里有{element[3]}个质子。它的特点或用途:{element[5]}。",
            ),
            said(
                f"{p}和{q}的轨道有什么不同?",
                f"{p}离太阳大约{d1 / 100:g}亿公里,绕一圈约{y1}个地球日;{q}离太阳大约{d2 / 100:g}亿公里,绕一圈约{y2}个地球日。{q}的距离是{p}的"
                f"{d2 / d1:.1f}倍,周期却是{y2 / y1:.1f}倍。这符合开普勒第三定律:周期的平方与距离的立方成正比,离太阳越远,走得越慢,路也越长。",
            ),
            said(
                f"HTTP状态码{'、'.join(str(code) for code, *_ in codes)}分别表示什么?",
                "\n".join(f"- **{code} {name}**:{what}。" for code, name, _, what in codes)
                + "\n\n记住首位数字就行:2表示成功,3表示要去别处,4是客户端的问题,5是服务器的问题。",
            ),
        ]
    )


def letter_zh(rng: Random) -> Messages:
    name, days = rng.choice(PEOPLE_ZH), rng.randint(1, 5)
    why, handed = rng.choice(
        [("家里有事需要回老家处理", "客户的报价单"), ("身体不适,需要去医院检查", "本周的测试报告"), ("要参加孩子的毕业典礼", "下周的排班表")]
    )
    return said(
        f"帮我写一份请假条,请{days}天假,原因是{why},工作交给{name}。",
        f"尊敬的领导:\n\n您好!因{why},特向您请假{days}天,望批准。\n\n请假期间,我负责的{handed}已交接给{name},相关文件放在共享文件夹中,"
        "紧急事项可以随时打电话联系我。我会在返岗当天补齐未完成的工作。\n\n由此带来的不便,敬请谅解。谢谢!\n\n此致\n敬礼",
    )


def code_zh(rng: Random) -> Messages:
    data = [rng.randint(1, 30) for _ in range(7)]
    unique = list(dict.fromkeys(data))
    n = rng.randint(8, 16)
    fib = [0, 1]
    while len(fib) < n:
        fib.append(fib[-1] + fib[-2])
    return rng.choice(
        [
            said(
                f"用Python怎样去掉列表里的重复元素,又保持原来的顺序?例如{data}。",
                f"字典的键不会重复,而且保持插入的顺序,所以一行就够了:\n\n```python\ndata = {data}\nunique = list(dict.fromkeys(data))\nprint(unique)"
                f"  # {unique}\n```\n\n如果用`set(data)`,元素虽然不重复,但顺序没有保证。元素必须是可哈希的,列表里若是字典或列表,就要自己写循环来比较。",
            ),
            said(
                f"写一个生成斐波那契数列的函数,输出前{n}项。",
                "```python\ndef fibonacci(count: int) -> list[int]:\n    numbers = []\n    a, b = 0, 1\n    for _ in range(count):\n"
                f"        numbers.append(a)\n        a, b = b, a + b\n    return numbers\n```\n\n`fibonacci({n})`的结果是`{fib}`。"
                "每一步只保留最后两个数,所以时间与项数成正比。递归写法虽然短,但会重复计算,项数大时非常慢。",
            ),
        ]
    )


def translate_zh(rng: Random) -> Messages:
    picks = rng.sample(PAIRS, 3)
    return said(
        "请把下面的句子翻译成英文:\n" + "\n".join(f"{n}. {zh}" for n, (_, zh) in enumerate(picks, 1)),
        "\n".join(f"{n}. {en}" for n, (en, _) in enumerate(picks, 1)),
    )


# --- tools ------------------------------------------------------------------------------------------------------------
def tool(name: str, description: str, **parameters: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind, "description": text} for key, (kind, text) in parameters.items()},
                "required": list(parameters),
            },
        },
    }


LIST = tool("list_directory", "List the entries of a directory.", path=("string", "Directory to list"))
READ = tool("read_file", "Read a text file.", path=("string", "File to read"))
WRITE = tool("write_file", "Create or overwrite a text file.", path=("string", "File to write"), content=("string", "Its text"))
RUN = tool("run_command", "Run a shell command and return its output.", command=("string", "The command line"))
OPEN = tool("browser_navigate", "Open a web page and return its text.", url=("string", "Address of the page"))
WEATHER = tool("get_weather", "Get the weather of a city.", city=("string", "City"), unit=("string", "celsius or fahrenheit"))
CALC = tool("calculate", "Evaluate an arithmetic expression.", expression=("string", "The expression"))
EVENT = tool("create_event", "Put an event into the calendar.", title=("string", "Title"), date=("string", "ISO date"),
             time=("string", "HH:MM"))


class Chat:
    """A dialogue in the making: a question, calls with their results, an answer."""

    def __init__(self, rng: Random, user: str) -> None:
        self.rng = rng
        self.messages: Messages = [{"role": "user", "content": user}]

    def call(self, *calls: tuple[str, dict[str, Any], str], saying: str = "") -> "Chat":
        """One assistant turn with one or more calls, each as (name, arguments, result)."""
        ids = [f"call_{self.rng.getrandbits(32):08x}" for _ in calls]
        self.messages.append(
            {
                "role": "assistant",
                "content": saying,
                "tool_calls": [
                    {"id": key, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}
                    for key, (name, arguments, _) in zip(ids, calls, strict=True)
                ],
            }
        )
        self.messages += [{"role": "tool", "tool_call_id": key, "content": result} for key, (*_, result) in zip(ids, calls, strict=True)]
        return self

    def end(self, answer: str) -> Messages:
        return [*self.messages, {"role": "assistant", "content": answer}]


def weather_tool(rng: Random, zh: bool) -> Messages:
    one, two = rng.sample(COUNTRIES, 2)
    sky = ["clear", "cloudy", "rain", "wind"]
    (s1, t1), (s2, t2) = [(rng.choice(sky), rng.randint(8, 28)) for _ in range(2)]
    calls = [
        ("get_weather", {"city": c[2], "unit": "celsius"}, json.dumps({"city": c[2], "sky": s, "temperature": t}, ensure_ascii=False))
        for c, s, t in ((one, s1, t1), (two, s2, t2))
    ]
    warm, cold = (one, two) if t1 >= t2 else (two, one)
    if zh:
        words = {"clear": "晴", "cloudy": "多云", "rain": "有雨", "wind": "有风"}
        return Chat(rng, f"{one[3]}和{two[3]}现在天气怎么样?哪里更暖和?").call(*calls).end(
            f"{one[3]}现在{words[s1]},{t1}摄氏度;{two[3]}{words[s2]},{t2}摄氏度。"
            + (f"{warm[3]}比{cold[3]}暖和{abs(t1 - t2)}度。" if t1 != t2 else "两地气温一样。")
        )
    return Chat(rng, f"Compare the weather in {one[2]} and {two[2]} right now.").call(*calls).end(
        f"{one[2]}: {s1}, {t1} °C. {two[2]}: {s2}, {t2} °C. "
        + (f"{warm[2]} is {abs(t1 - t2)} degrees warmer than {cold[2]}." if t1 != t2 else "Both are equally warm.")
    )


def budget_tool(rng: Random, zh: bool) -> Messages:
    rows = [(item_zh if zh else item, rng.randint(1, 9), rng.randint(5, 80)) for item, item_zh in rng.sample(GOODS, 3)]
    folder = rng.choice(["/home/user/orders", "/data/shop", "/srv/reports", "/home/user/documents"])
    month = rng.choice(["january", "march", "june", "august", "november"])
    text = "item,count,price\n" + "".join(f"{item},{count},{price}\n" for item, count, price in rows)
    expression = " + ".join(f"{count} * {price}" for _, count, price in rows)
    total = sum(count * price for _, count, price in rows)
    path = f"{folder}/{month}.csv"
    ask = f"{folder}里有一个{month}的订单表,帮我算出总金额。" if zh else f"There is an order list for {month} in {folder}. What is its total?"
    listing = f"[FILE] {month}.csv\n[FILE] readme.txt\n[DIR] archive"
    chat = Chat(rng, ask).call(("list_directory", {"path": folder}, listing), saying="先看看目录里有什么。" if zh else "Let me look at the folder first.")
    chat.call(("read_file", {"path": path}, text)).call(("calculate", {"expression": expression}, str(total)))
    dearest = max(rows, key=lambda row: row[1] * row[2])
    return chat.end(
        f"{month}.csv一共有{len(rows)}种商品,总金额是**{total}**元,其中{dearest[0]}最多,占{dearest[1] * dearest[2]}元。"
        if zh
        else f"`{month}.csv` lists {len(rows)} items and adds up to **{total}**. The largest part is {dearest[0]} with "
        f"{dearest[1]} × {dearest[2]} = {dearest[1] * dearest[2]}."
    )


def missing_tool(rng: Random, zh: bool) -> Messages:
    name = rng.choice(["config.yaml", "notes.md", "settings.json", "todo.txt"])
    other = name.replace(".", "-old.")
    port = rng.randint(3000, 9000)
    chat = Chat(rng, f"读一下/app/{name},告诉我服务用哪个端口。" if zh else f"Read /app/{name} and tell me which port the service uses.")
    chat.call(("read_file", {"path": f"/app/{name}"}, f"Error: ENOENT: no such file or directory, open '/app/{name}'"))
    chat.call(
        ("list_directory", {"path": "/app"}, f"[FILE] {other}\n[FILE] main.py\n[DIR] logs"),
        saying="文件不存在,我看看目录里有没有类似的。" if zh else "That file does not exist. I will check what is there instead.",
    )
    chat.call(("read_file", {"path": f"/app/{other}"}, f"host: 0.0.0.0\nport: {port}\nworkers: 2\n"))
    return chat.end(
        f"/app里没有{name},只有{other}。根据它的内容,端口是**{port}**。请确认这个旧文件是否仍然有效。"
        if zh
        else f"There is no `{name}` in /app, only `{other}`, which sets port **{port}**. Please check that the old file is still the one in use."
    )


def disk_tool(rng: Random, zh: bool) -> Messages:
    used, logs, cache = rng.randint(81, 97), rng.randint(5, 40), rng.randint(2, 15)
    table = f"Filesystem      Size  Used Avail Use% Mounted on\n/dev/sda1       200G  {2 * used}G   {200 - 2 * used}G  {used}% /"
    sizes = f"{logs}G\t/var/log\n{cache}G\t/var/cache\n1.2G\t/var/lib"
    chat = Chat(rng, "服务器的磁盘快满了,帮我看看是什么占的空间,先不要删除任何东西。" if zh else "The server's disk is filling up. Find out why, but delete nothing yet.")
    chat.call(("run_command", {"command": "df -h /"}, table), ("run_command", {"command": "du -sh /var/* | sort -hr | head -3"}, sizes))
    return chat.end(
        f"根分区已使用{used}%。占用最多的是/var/log({logs} GB)和/var/cache({cache} GB)。建议:\n\n1. 用`journalctl --vacuum-size=1G`压缩系统日志;\n"
        "2. 检查logrotate是否生效;\n3. 用`apt-get clean`清理软件包缓存。\n\n我没有删除任何东西,要执行哪一步请告诉我。"
        if zh
        else f"The root file system is {used} % full. `/var/log` holds {logs} GB and `/var/cache` {cache} GB. I suggest:\n\n1. shrink the "
        "journal with `journalctl --vacuum-size=1G`,\n2. check that logrotate runs,\n3. empty the package cache with `apt-get clean`.\n\nNothing "
        "was deleted. Tell me which step to take."
    )


def event_tool(rng: Random, zh: bool) -> Messages:
    day = date(2025, 9, 1) + timedelta(days=rng.randrange(120))
    hour, who, who_zh = rng.randint(9, 17), rng.choice(PEOPLE), rng.choice(PEOPLE_ZH)
    title = f"与{who_zh}讨论方案" if zh else f"Review with {who}"
    ask = (
        f"{day.month}月{day.day}日{hour}点和{who_zh}讨论方案,记到{day.year}年的日历里,并在/home/user/notes.md写一份提纲。"
        if zh
        else f"Put a review with {who} on {day:%B} {day.day}, {day.year} at {hour}:00 into my calendar and write an outline to /home/user/notes.md."
    )
    outline = "# 提纲\n1. 目标\n2. 进度\n3. 风险\n4. 下一步" if zh else "# Outline\n1. Goals\n2. Progress\n3. Risks\n4. Next steps"
    return (
        Chat(rng, ask)
        .call(
            ("create_event", {"title": title, "date": day.isoformat(), "time": f"{hour:02d}:00"}, '{"status": "created"}'),
            ("write_file", {"path": "/home/user/notes.md", "content": outline}, "Successfully wrote to /home/user/notes.md"),
        )
        .end(
            f"已经记入日历:{day.isoformat()} {hour:02d}:00,“{title}”。提纲也写好了,包括目标、进度、风险和下一步四项。"
            if zh
            else f"Done: “{title}” is in the calendar for {day:%A}, {day.isoformat()} at {hour:02d}:00, and the outline with goals, progress, risks "
            "and next steps is in `/home/user/notes.md`."
        )
    )


def page_tool(rng: Random, zh: bool) -> Messages:
    product, version = rng.choice(["hearth", "gatebox", "logview", "mapkit"]), f"{rng.randint(1, 4)}.{rng.randint(0, 12)}.{rng.randint(0, 9)}"
    fixes = rng.sample(["a crash on empty files", "slow start on old disks", "wrong dates in the export", "a leak in the file watcher"], 2)
    page = f"{product} {version}\nReleased this week.\n- fixes {fixes[0]}\n- fixes {fixes[1]}\nRequires Python 3.11 or newer."
    chat = Chat(rng, f"打开{product}的发布页,告诉我最新版本改了什么。" if zh else f"Open the release page of {product} and tell me what changed.")
    chat.call(("browser_navigate", {"url": f"https://{product}.example/releases"}, page))
    return chat.end(
        f"{product}的最新版本是{version},修复了两个问题({fixes[0]};{fixes[1]}),要求Python 3.11或更新的版本。"
        if zh
        else f"The latest release is **{version}**. It fixes {fixes[0]} and {fixes[1]}, and needs Python 3.11 or newer."
    )


# --- dialogues --------------------------------------------------------------------------------------------------------
PLAIN: dict[str, list[Exchange]] = {
    "en": [explain_en, explain_en, explain_en, shopping_en, interest_en, numbers_en, calendar_en, bases_en, facts_en, terminal_en, code_en,
           code_en, order_en, letter_en, minutes_en, translate_en],
    "zh": [explain_zh, explain_zh, explain_zh, shopping_zh, travel_zh, idiom_zh, facts_zh, letter_zh, code_zh, translate_zh],
}
TOOLED: list[tuple[Callable[[Random, bool], Messages], list[dict[str, Any]]]] = [
    (weather_tool, [WEATHER]),
    (budget_tool, [LIST, READ, CALC]),
    (missing_tool, [LIST, READ]),
    (disk_tool, [RUN]),
    (event_tool, [EVENT, WRITE]),
    (page_tool, [OPEN]),
]
SYSTEM = {
    "en": [
        "You are a helpful assistant.",
        "You are a careful assistant. Answer briefly, show your reasoning where it helps, and say so when you are not sure.",
        "You are an assistant on the user's desktop. Use the tools you are given when they help, and report what you did.",
    ],
    "zh": ["你是一个乐于助人的助手。", "你是一位严谨的助手,回答要简洁、准确,不确定的时候请直接说明。"],
}


def length(messages: Messages, tools: list[dict[str, Any]]) -> float:
    """Tokens, estimated on the low side: 4.5 characters each, but 1.7 of Chinese."""
    text = json.dumps([[message["content"], message.get("tool_calls", [])] for message in messages] + tools, ensure_ascii=False)
    chinese = sum(letter >= "⺀" for letter in text)
    return (len(text) - chinese) / 4.5 + chinese / 1.7


def dialogue(rng: Random, language: str, tooled: bool) -> dict[str, Any]:
    """One row: exchanges that do not repeat, until the text fills a calibration sample."""
    messages: Messages = [{"role": "system", "content": rng.choice(SYSTEM[language])}] if rng.random() < 0.6 else []
    tools: list[dict[str, Any]] = []
    if tooled:
        for make, needed in rng.sample(TOOLED, 2):
            messages += make(rng, language == "zh")
            tools += [tool for tool in needed if tool not in tools]
    kinds = rng.sample(PLAIN[language], len(PLAIN[language]))
    asked: set[str] = set()
    while length(messages, tools) < LONG_ENOUGH:
        exchange = kinds.pop()(rng)
        if exchange[0]["content"] not in asked:
            asked.add(exchange[0]["content"])
            messages += exchange
    return {"messages": messages} | ({"tools": tools} if tools else {})


def dialogues() -> Iterator[str]:
    """All rows as JSON lines: of every eight, five are English and three Chinese, and three call tools."""
    rng = Random(SEED)
    for number in range(ROWS):
        language = "zh" if number % 8 in (1, 4, 6) else "en"
        yield json.dumps(dialogue(rng, language, tooled=number % 8 in (2, 5, 6)), ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for line in dialogues():
        print(line)
