"""What the demo model knows: plain facts in English and Chinese, written for this repository."""
# ruff: noqa: E501, SIM905
# Data: a fact a line, however long.
# fmt: off

Pair = tuple[str, str]


def pairs(text: str) -> list[Pair]:
    """`English=中文` separated by `;`."""
    return [(en.strip(), zh.strip()) for en, zh in (item.split("=") for item in text.split(";"))]


# Lists: English plural, 中文名, measure word, items in the order in which they are named.
CATEGORIES: list[tuple[str, str, str, list[Pair]]] = [
    ("operating systems", "操作系统", "个", pairs("Windows=Windows;macOS=macOS;Linux=Linux;Android=Android;iOS=iOS;FreeBSD=FreeBSD")),
    ("programming languages", "编程语言", "种", pairs("Python=Python;Java=Java;C=C;JavaScript=JavaScript;Rust=Rust;Go=Go")),
    ("web browsers", "网页浏览器", "个", pairs("Firefox=Firefox;Chrome=Chrome;Safari=Safari;Edge=Edge;Opera=Opera;Brave=Brave")),
    ("databases", "数据库", "个", pairs("PostgreSQL=PostgreSQL;MySQL=MySQL;SQLite=SQLite;MongoDB=MongoDB;Redis=Redis;MariaDB=MariaDB")),
    ("Linux distributions", "Linux发行版", "个", pairs("Debian=Debian;Ubuntu=Ubuntu;Fedora=Fedora;Arch Linux=Arch Linux;openSUSE=openSUSE;Alpine=Alpine")),
    ("text editors", "文本编辑器", "个", pairs("Vim=Vim;Emacs=Emacs;Nano=Nano;VS Code=VS Code;Sublime Text=Sublime Text;Notepad=记事本")),
    ("search engines", "搜索引擎", "个", pairs("Google=谷歌;Bing=必应;Baidu=百度;DuckDuckGo=DuckDuckGo;Yandex=Yandex;Yahoo=雅虎")),
    ("image formats", "图片格式", "种", pairs("PNG=PNG;JPEG=JPEG;GIF=GIF;SVG=SVG;WebP=WebP;TIFF=TIFF")),
    ("network protocols", "网络协议", "种", pairs("HTTP=HTTP;TCP=TCP;UDP=UDP;DNS=DNS;SSH=SSH;FTP=FTP")),
    ("data structures", "数据结构", "种", pairs("array=数组;linked list=链表;stack=栈;queue=队列;tree=树;hash table=哈希表")),
    ("sorting algorithms", "排序算法", "种", pairs("quicksort=快速排序;merge sort=归并排序;heap sort=堆排序;bubble sort=冒泡排序;insertion sort=插入排序;radix sort=基数排序")),
    ("fruits", "水果", "种", pairs("apple=苹果;banana=香蕉;orange=橙子;grape=葡萄;pear=梨;strawberry=草莓")),
    ("vegetables", "蔬菜", "种", pairs("carrot=胡萝卜;potato=土豆;tomato=西红柿;cabbage=白菜;spinach=菠菜;onion=洋葱")),
    ("colours", "颜色", "种", pairs("red=红色;blue=蓝色;green=绿色;yellow=黄色;black=黑色;white=白色")),
    ("planets", "行星", "颗", pairs("Mercury=水星;Venus=金星;Earth=地球;Mars=火星;Jupiter=木星;Saturn=土星")),
    ("continents", "大洲", "个", pairs("Asia=亚洲;Africa=非洲;Europe=欧洲;North America=北美洲;South America=南美洲;Oceania=大洋洲")),
    ("oceans", "大洋", "个", pairs("Pacific Ocean=太平洋;Atlantic Ocean=大西洋;Indian Ocean=印度洋;Arctic Ocean=北冰洋;Southern Ocean=南冰洋")),
    ("animals", "动物", "种", pairs("cat=猫;dog=狗;horse=马;elephant=大象;tiger=老虎;rabbit=兔子")),
    ("birds", "鸟", "种", pairs("sparrow=麻雀;eagle=鹰;owl=猫头鹰;swan=天鹅;crow=乌鸦;penguin=企鹅")),
    ("musical instruments", "乐器", "种", pairs("piano=钢琴;violin=小提琴;guitar=吉他;flute=长笛;drum=鼓;trumpet=小号")),
    ("sports", "运动", "种", pairs("football=足球;basketball=篮球;tennis=网球;swimming=游泳;running=跑步;badminton=羽毛球")),
    ("seasons", "季节", "个", pairs("spring=春天;summer=夏天;autumn=秋天;winter=冬天")),
    ("metals", "金属", "种", pairs("iron=铁;copper=铜;gold=金;silver=银;aluminium=铝;lead=铅")),
    ("languages", "语言", "种", pairs("English=英语;Chinese=汉语;Spanish=西班牙语;French=法语;Arabic=阿拉伯语;Russian=俄语")),
    ("European countries", "欧洲国家", "个", pairs("France=法国;Germany=德国;Italy=意大利;Spain=西班牙;Poland=波兰;Norway=挪威")),
    ("Asian countries", "亚洲国家", "个", pairs("China=中国;Japan=日本;India=印度;Thailand=泰国;Vietnam=越南;Indonesia=印度尼西亚")),
    ("shapes", "形状", "种", pairs("circle=圆形;square=正方形;triangle=三角形;rectangle=长方形;oval=椭圆形;pentagon=五边形")),
    ("drinks", "饮料", "种", pairs("water=水;tea=茶;coffee=咖啡;milk=牛奶;juice=果汁;lemonade=柠檬水")),
    ("vehicles", "交通工具", "种", pairs("car=汽车;bus=公共汽车;train=火车;bicycle=自行车;plane=飞机;ship=轮船")),
    ("flowers", "花", "种", pairs("rose=玫瑰;tulip=郁金香;lily=百合;sunflower=向日葵;orchid=兰花;lotus=荷花")),
    ("trees", "树", "种", pairs("oak=橡树;pine=松树;birch=桦树;maple=枫树;willow=柳树;bamboo=竹子")),
    ("school subjects", "学校科目", "门", pairs("mathematics=数学;physics=物理;chemistry=化学;history=历史;biology=生物;music=音乐")),
    ("pieces of furniture", "家具", "件", pairs("table=桌子;chair=椅子;bed=床;sofa=沙发;wardrobe=衣柜;desk=书桌")),
    ("parts of the body", "身体部位", "个", pairs("head=头;hand=手;foot=脚;eye=眼睛;ear=耳朵;nose=鼻子")),
    ("parts of a computer", "电脑部件", "个", pairs("CPU=中央处理器;memory=内存;hard disk=硬盘;graphics card=显卡;keyboard=键盘;screen=屏幕")),
    ("jobs", "职业", "种", pairs("teacher=老师;doctor=医生;engineer=工程师;cook=厨师;farmer=农民;driver=司机")),
    ("units of length", "长度单位", "个", pairs("metre=米;kilometre=千米;centimetre=厘米;millimetre=毫米;mile=英里;inch=英寸")),
    ("insects", "昆虫", "种", pairs("ant=蚂蚁;bee=蜜蜂;butterfly=蝴蝶;fly=苍蝇;beetle=甲虫;dragonfly=蜻蜓")),
    ("kitchen tools", "厨房用具", "种", pairs("knife=刀;spoon=勺子;pan=平底锅;bowl=碗;pot=锅;fork=叉子")),
    ("version control systems", "版本控制系统", "个", pairs("Git=Git;Subversion=Subversion;Mercurial=Mercurial;CVS=CVS")),
]

DEFINITIONS: list[tuple[str, str, str, str]] = [  # term, meaning, 术语, 意思
    ("a CPU", "A CPU is the part of a computer that executes the instructions of programs.", "CPU", "CPU是计算机中执行程序指令的部件。"),
    ("RAM", "RAM is the fast memory that holds the programs and data a computer is using right now.", "内存", "内存是存放正在使用的程序和数据的快速存储器。"),
    ("a GPU", "A GPU is a processor with thousands of small cores that compute in parallel.", "GPU", "GPU是拥有数千个小核心、可以并行计算的处理器。"),
    ("an operating system", "An operating system is the software that manages the hardware and runs other programs.", "操作系统", "操作系统是管理硬件并运行其他程序的软件。"),
    ("a web browser", "A web browser is a program that loads and shows pages of the web.", "浏览器", "浏览器是加载并显示网页的程序。"),
    ("a database", "A database is an organised collection of data that programs can search and change.", "数据库", "数据库是有组织的数据集合,程序可以查询和修改它。"),
    ("a compiler", "A compiler is a program that translates source code into machine code.", "编译器", "编译器是把源代码翻译成机器码的程序。"),
    ("an algorithm", "An algorithm is a sequence of exact steps that solves a problem.", "算法", "算法是解决问题的一系列明确步骤。"),
    ("an API", "An API is the set of calls by which one program uses another.", "API", "API是一个程序使用另一个程序的一组接口。"),
    ("JSON", "JSON is a text format for data made of objects, lists, strings and numbers.", "JSON", "JSON是由对象、列表、字符串和数字组成的文本数据格式。"),
    ("HTML", "HTML is the language in which the structure of web pages is written.", "HTML", "HTML是描述网页结构的标记语言。"),
    ("HTTP", "HTTP is the protocol by which browsers and servers exchange pages and data.", "HTTP", "HTTP是浏览器和服务器交换网页与数据的协议。"),
    ("DNS", "DNS is the service that turns names such as example.com into IP addresses.", "DNS", "DNS是把域名转换成IP地址的服务。"),
    ("an IP address", "An IP address is the number that identifies a machine on a network.", "IP地址", "IP地址是网络上识别一台机器的号码。"),
    ("a firewall", "A firewall is a guard that lets wanted network traffic through and blocks the rest.", "防火墙", "防火墙只放行需要的网络流量,拦住其余的。"),
    ("a kernel", "A kernel is the core of an operating system; it controls hardware and processes.", "内核", "内核是操作系统的核心,控制硬件和进程。"),
    ("a container", "A container is an isolated process that carries its own files and libraries.", "容器", "容器是带有自己的文件和库的隔离进程。"),
    ("quantization", "Quantization stores a model's weights with fewer bits, so that it needs less memory.", "量化", "量化用更少的位数存储模型权重,从而节省内存。"),
    ("a neural network", "A neural network is a model made of layers of simple units whose weights are learned from data.", "神经网络", "神经网络由多层简单单元组成,权重从数据中学习。"),
    ("a language model", "A language model is a program that predicts the next piece of a text.", "语言模型", "语言模型是预测下一段文字的程序。"),
    ("a token", "A token is a piece of text, often a word or part of one, that a language model reads as one unit.", "词元", "词元是语言模型一次读取的文本单位,常常是一个词或词的一部分。"),
    ("a cache", "A cache keeps copies of data close by, so that using them again is fast.", "缓存", "缓存把数据的副本放在近处,以便再次使用时更快。"),
    ("a thread", "A thread is a path of execution inside a process.", "线程", "线程是进程内部的一条执行路径。"),
    ("a process", "A process is a running program with memory of its own.", "进程", "进程是拥有自己内存的正在运行的程序。"),
    ("a file system", "A file system organises data on a disk into files and folders.", "文件系统", "文件系统把磁盘上的数据组织成文件和文件夹。"),
    ("a backup", "A backup is a copy of data that is kept in case the original is lost.", "备份", "备份是为防止原件丢失而保存的数据副本。"),
    ("encryption", "Encryption turns data into a form that only the owner of a key can read.", "加密", "加密把数据变成只有持有密钥的人才能读懂的形式。"),
    ("a password", "A password is a secret word that proves who you are.", "密码", "密码是用来证明身份的秘密字符串。"),
    ("photosynthesis", "Photosynthesis is how plants make sugar from light, water and carbon dioxide.", "光合作用", "光合作用是植物用光、水和二氧化碳制造糖的过程。"),
    ("gravity", "Gravity is the force by which masses attract each other.", "引力", "引力是有质量的物体相互吸引的力。"),
    ("a volcano", "A volcano is a mountain from which hot melted rock can come out.", "火山", "火山是会喷出炽热岩浆的山。"),
    ("democracy", "Democracy is a form of government in which the people choose who governs.", "民主", "民主是由人民选择执政者的政治制度。"),
    ("inflation", "Inflation is a general rise of prices, so that money buys less.", "通货膨胀", "通货膨胀是物价普遍上涨、钱能买的东西变少。"),
    ("a galaxy", "A galaxy is a huge group of stars held together by gravity.", "星系", "星系是由引力聚在一起的大量恒星。"),
    ("an atom", "An atom is the smallest piece of a chemical element.", "原子", "原子是化学元素的最小单位。"),
    ("a vaccine", "A vaccine trains the immune system to recognise a disease.", "疫苗", "疫苗让免疫系统学会识别一种疾病。"),
    ("an ecosystem", "An ecosystem is a community of living things together with their surroundings.", "生态系统", "生态系统是生物群落及其环境的整体。"),
    ("a dictionary", "A dictionary is a book that explains the meaning of words.", "词典", "词典是解释词语意思的书。"),
    ("a glacier", "A glacier is a large mass of ice that moves slowly.", "冰川", "冰川是缓慢移动的大片冰体。"),
    ("a poem", "A poem is a text that uses rhythm, sound and images to express feelings.", "诗", "诗是用节奏、声音和形象表达情感的文字。"),
    ("a robot", "A robot is a machine that can carry out tasks by itself.", "机器人", "机器人是能自动完成任务的机器。"),
    ("a server", "A server is a computer or program that answers the requests of others.", "服务器", "服务器是回应其他程序请求的计算机或程序。"),
    ("open source", "Open source means that everyone may read, use and change a program's source code.", "开源", "开源是指任何人都可以阅读、使用和修改程序的源代码。"),
    ("a variable", "A variable is a name in a program that stands for a value.", "变量", "变量是程序中代表一个值的名字。"),
    ("recursion", "Recursion means that a function calls itself on a smaller problem.", "递归", "递归是函数对更小的问题调用自己。"),
    ("a bug", "A bug is a mistake in a program that makes it behave wrongly.", "程序错误", "程序错误是让程序行为不正确的失误。"),
]

COUNTRIES = [  # country, 国家, capital, 首都, continent, 洲, language, 语言
    row.split(",") for row in """France,法国,Paris,巴黎,Europe,欧洲,French,法语
Germany,德国,Berlin,柏林,Europe,欧洲,German,德语
Italy,意大利,Rome,罗马,Europe,欧洲,Italian,意大利语
Spain,西班牙,Madrid,马德里,Europe,欧洲,Spanish,西班牙语
Portugal,葡萄牙,Lisbon,里斯本,Europe,欧洲,Portuguese,葡萄牙语
Poland,波兰,Warsaw,华沙,Europe,欧洲,Polish,波兰语
Norway,挪威,Oslo,奥斯陆,Europe,欧洲,Norwegian,挪威语
Sweden,瑞典,Stockholm,斯德哥尔摩,Europe,欧洲,Swedish,瑞典语
Finland,芬兰,Helsinki,赫尔辛基,Europe,欧洲,Finnish,芬兰语
Denmark,丹麦,Copenhagen,哥本哈根,Europe,欧洲,Danish,丹麦语
Greece,希腊,Athens,雅典,Europe,欧洲,Greek,希腊语
Austria,奥地利,Vienna,维也纳,Europe,欧洲,German,德语
Hungary,匈牙利,Budapest,布达佩斯,Europe,欧洲,Hungarian,匈牙利语
Ireland,爱尔兰,Dublin,都柏林,Europe,欧洲,English,英语
Russia,俄罗斯,Moscow,莫斯科,Europe,欧洲,Russian,俄语
Ukraine,乌克兰,Kyiv,基辅,Europe,欧洲,Ukrainian,乌克兰语
China,中国,Beijing,北京,Asia,亚洲,Chinese,汉语
Japan,日本,Tokyo,东京,Asia,亚洲,Japanese,日语
South Korea,韩国,Seoul,首尔,Asia,亚洲,Korean,韩语
India,印度,New Delhi,新德里,Asia,亚洲,Hindi,印地语
Thailand,泰国,Bangkok,曼谷,Asia,亚洲,Thai,泰语
Vietnam,越南,Hanoi,河内,Asia,亚洲,Vietnamese,越南语
Indonesia,印度尼西亚,Jakarta,雅加达,Asia,亚洲,Indonesian,印度尼西亚语
Mongolia,蒙古,Ulaanbaatar,乌兰巴托,Asia,亚洲,Mongolian,蒙古语
Turkey,土耳其,Ankara,安卡拉,Asia,亚洲,Turkish,土耳其语
Iran,伊朗,Tehran,德黑兰,Asia,亚洲,Persian,波斯语
Egypt,埃及,Cairo,开罗,Africa,非洲,Arabic,阿拉伯语
Kenya,肯尼亚,Nairobi,内罗毕,Africa,非洲,Swahili,斯瓦希里语
Morocco,摩洛哥,Rabat,拉巴特,Africa,非洲,Arabic,阿拉伯语
Ethiopia,埃塞俄比亚,Addis Ababa,亚的斯亚贝巴,Africa,非洲,Amharic,阿姆哈拉语
Canada,加拿大,Ottawa,渥太华,North America,北美洲,English,英语
Mexico,墨西哥,Mexico City,墨西哥城,North America,北美洲,Spanish,西班牙语
Cuba,古巴,Havana,哈瓦那,North America,北美洲,Spanish,西班牙语
the United States,美国,Washington,华盛顿,North America,北美洲,English,英语
Brazil,巴西,Brasília,巴西利亚,South America,南美洲,Portuguese,葡萄牙语
Argentina,阿根廷,Buenos Aires,布宜诺斯艾利斯,South America,南美洲,Spanish,西班牙语
Peru,秘鲁,Lima,利马,South America,南美洲,Spanish,西班牙语
Chile,智利,Santiago,圣地亚哥,South America,南美洲,Spanish,西班牙语
Australia,澳大利亚,Canberra,堪培拉,Oceania,大洋洲,English,英语
New Zealand,新西兰,Wellington,惠灵顿,Oceania,大洋洲,English,英语""".splitlines()
]

OPPOSITES = [  # word, opposite, 词, 反义词
    row.split(",") for row in """hot,cold,热,冷
big,small,大,小
tall,short,高,矮
fast,slow,快,慢
new,old,新,旧
day,night,白天,黑夜
open,closed,开,关
rich,poor,富,穷
hard,soft,硬,软
light,dark,亮,暗
full,empty,满,空
early,late,早,晚
happy,sad,高兴,难过
strong,weak,强,弱
clean,dirty,干净,脏
wet,dry,湿,干
near,far,近,远
left,right,左,右
up,down,上,下
true,false,真,假
good,bad,好,坏
loud,quiet,吵闹,安静
thick,thin,厚,薄
wide,narrow,宽,窄
deep,shallow,深,浅
heavy,light,重,轻
buy,sell,买,卖
win,lose,赢,输
start,end,开始,结束
cheap,expensive,便宜,贵""".splitlines()
]

ELEMENTS = [row.split(",") for row in "hydrogen,氢,H,1;helium,氦,He,2;lithium,锂,Li,3;carbon,碳,C,6;nitrogen,氮,N,7;oxygen,氧,O,8;sodium,钠,Na,11;magnesium,镁,Mg,12;aluminium,铝,Al,13;silicon,硅,Si,14;sulfur,硫,S,16;chlorine,氯,Cl,17;potassium,钾,K,19;calcium,钙,Ca,20;iron,铁,Fe,26;copper,铜,Cu,29;zinc,锌,Zn,30;silver,银,Ag,47;tin,锡,Sn,50;gold,金,Au,79;mercury,汞,Hg,80;lead,铅,Pb,82;uranium,铀,U,92".split(";")]

STATUS = [(200, "OK", "the request worked", "请求成功"), (201, "Created", "a new resource was created", "新资源已创建"), (204, "No Content", "it worked and there is nothing to return", "成功,但没有内容"),
          (301, "Moved Permanently", "the resource has a new address", "资源已永久移动"), (304, "Not Modified", "the cached copy is still good", "缓存的副本仍然有效"), (400, "Bad Request", "the server cannot understand the request", "服务器看不懂请求"),
          (401, "Unauthorized", "credentials are missing or wrong", "缺少凭据或凭据有误"), (403, "Forbidden", "the server refuses access", "服务器拒绝访问"), (404, "Not Found", "nothing is at this address", "这个地址上没有内容"),
          (409, "Conflict", "the request conflicts with the present state", "请求与当前状态冲突"), (429, "Too Many Requests", "too many requests were sent", "请求太多"), (500, "Internal Server Error", "the server failed", "服务器内部出错"),
          (502, "Bad Gateway", "a proxy got a bad answer", "代理收到了错误的回答"), (503, "Service Unavailable", "the server is overloaded or starting", "服务器过载或正在启动")]

SHELL = [row.split("|") for row in """list files|ls|列出文件
show the current directory|pwd|显示当前目录
change the directory|cd|切换目录
copy a file|cp|复制文件
move a file|mv|移动文件
delete a file|rm|删除文件
create a directory|mkdir|新建目录
show the contents of a file|cat|显示文件内容
search text in files|grep|在文件中搜索文本
find files by name|find|按名字查找文件
show running processes|ps|查看正在运行的进程
end a process|kill|结束进程
show free disk space|df|查看磁盘剩余空间
show how much space a folder takes|du|查看文件夹占用的空间
show free memory|free|查看空闲内存
change the permissions of a file|chmod|修改文件权限
download a file from the web|wget|从网上下载文件
count lines of a file|wc|统计文件行数
sort lines|sort|给行排序
show the first lines of a file|head|显示文件开头几行
show the last lines of a file|tail|显示文件最后几行
pack files into an archive|tar|打包文件
connect to another machine|ssh|连接另一台机器
show who is logged in|who|查看谁已登录
print the date|date|显示日期""".splitlines()]

EXTENSIONS = [row.split("|") for row in """.py|Python source code|Python源代码
.js|JavaScript source code|JavaScript源代码
.html|a web page|网页
.css|the style of a web page|网页样式
.json|structured data in JSON|JSON格式的数据
.yaml|configuration in YAML|YAML格式的配置
.md|text in Markdown|Markdown文本
.txt|plain text|纯文本
.csv|a table with values separated by commas|用逗号分隔的表格
.png|an image|图片
.jpg|a photo|照片
.mp3|music or sound|音乐或声音
.mp4|a video|视频
.pdf|a document for printing|用于打印的文档
.zip|a compressed archive|压缩包
.sh|a shell script|shell脚本
.rs|Rust source code|Rust源代码
.c|C source code|C语言源代码
.sql|database queries|数据库查询语句
.log|log messages|日志""".splitlines()]

PEOPLE_FACTS = [row.split("|") for row in """invented the telephone|Alexander Graham Bell|发明了电话|亚历山大·贝尔
invented the light bulb|Thomas Edison|发明了电灯|托马斯·爱迪生
discovered gravity|Isaac Newton|发现了万有引力|艾萨克·牛顿
developed the theory of relativity|Albert Einstein|提出了相对论|阿尔伯特·爱因斯坦
wrote Hamlet|William Shakespeare|写了《哈姆雷特》|威廉·莎士比亚
painted the Mona Lisa|Leonardo da Vinci|画了《蒙娜丽莎》|列奥纳多·达·芬奇
wrote Dream of the Red Chamber|Cao Xueqin|写了《红楼梦》|曹雪芹
wrote Journey to the West|Wu Cheng'en|写了《西游记》|吴承恩
discovered penicillin|Alexander Fleming|发现了青霉素|亚历山大·弗莱明
created Linux|Linus Torvalds|创造了Linux|林纳斯·托瓦兹
created Python|Guido van Rossum|创造了Python|吉多·范罗苏姆
discovered radium|Marie Curie|发现了镭|玛丽·居里
proposed the theory of evolution|Charles Darwin|提出了进化论|查尔斯·达尔文
was the first person in space|Yuri Gagarin|是第一个进入太空的人|尤里·加加林
was the first person on the moon|Neil Armstrong|是第一个登上月球的人|尼尔·阿姆斯特朗
composed the Ninth Symphony with the Ode to Joy|Ludwig van Beethoven|创作了带有《欢乐颂》的第九交响曲|路德维希·范·贝多芬
wrote Don Quixote|Miguel de Cervantes|写了《堂吉诃德》|米格尔·德·塞万提斯
invented the World Wide Web|Tim Berners-Lee|发明了万维网|蒂姆·伯纳斯-李
invented paper making|Cai Lun|改进了造纸术|蔡伦
described the Turing machine|Alan Turing|提出了图灵机|艾伦·图灵""".splitlines()]

MEASURES = [row.split("|") for row in """metres|a kilometre|1000|一千米有多少米
centimetres|a metre|100|一米有多少厘米
millimetres|a centimetre|10|一厘米有多少毫米
grams|a kilogram|1000|一千克有多少克
minutes|an hour|60|一小时有多少分钟
seconds|a minute|60|一分钟有多少秒
hours|a day|24|一天有多少小时
days|a week|7|一星期有多少天
months|a year|12|一年有多少个月
days|a normal year|365|平年有多少天
years|a century|100|一个世纪有多少年
bits|a byte|8|一个字节有多少位
millilitres|a litre|1000|一升有多少毫升
sides|a triangle|3|三角形有多少条边
sides|a square|4|正方形有多少条边
legs|a spider|8|蜘蛛有多少条腿
legs|an insect|6|昆虫有多少条腿
players|a football team|11|一支足球队有多少名队员
letters|the English alphabet|26|英语字母表有多少个字母
colours|a rainbow|7|彩虹有多少种颜色""".splitlines()]

QUALITIES = [row.split("|") for row in """grass|green|草|绿色
the sky on a clear day|blue|晴天的天空|蓝色
snow|white|雪|白色
blood|red|血|红色
a banana|yellow|香蕉|黄色
coal|black|煤|黑色
an orange|orange|橙子|橙色
milk|white|牛奶|白色
a ripe tomato|red|熟西红柿|红色
chocolate|brown|巧克力|棕色
gold|yellow|黄金|金黄色
a lemon|yellow|柠檬|黄色
an elephant|grey|大象|灰色
a carrot|orange|胡萝卜|橙色
the sea|blue|大海|蓝色""".splitlines()]

YESNO = [row.split("|") for row in """Can a penguin fly?|No, penguins cannot fly, but they swim very well.|企鹅会飞吗?|不会,企鹅不会飞,但很会游泳。
Is the sun a star?|Yes, the sun is a star.|太阳是恒星吗?|是的,太阳是一颗恒星。
Is a whale a fish?|No, a whale is a mammal.|鲸是鱼吗?|不是,鲸是哺乳动物。
Does the earth move around the sun?|Yes, the earth goes around the sun once a year.|地球绕着太阳转吗?|是的,地球每年绕太阳转一圈。
Is ice lighter than water?|Yes, ice floats on water.|冰比水轻吗?|是的,冰会浮在水上。
Is Python a programming language?|Yes, Python is a programming language.|Python是编程语言吗?|是的,Python是一种编程语言。
Is Linux open source?|Yes, Linux is open source.|Linux是开源的吗?|是的,Linux是开源的。
Do plants need light?|Yes, plants need light to make sugar.|植物需要光吗?|需要,植物靠光制造养分。
Is a spider an insect?|No, a spider is an arachnid; it has eight legs.|蜘蛛是昆虫吗?|不是,蜘蛛属于蛛形纲,有八条腿。
Is the moon bigger than the earth?|No, the moon is smaller than the earth.|月亮比地球大吗?|不,月亮比地球小。
Does water boil at 100 degrees Celsius?|Yes, at sea level water boils at 100 degrees Celsius.|水在一百摄氏度沸腾吗?|是的,在海平面上水在一百摄氏度沸腾。
Can fish live without water?|No, fish need water to breathe.|鱼离开水能活吗?|不能,鱼需要在水中呼吸。
Is Tokyo the capital of Japan?|Yes, Tokyo is the capital of Japan.|东京是日本的首都吗?|是的,东京是日本的首都。
Is Sydney the capital of Australia?|No, the capital of Australia is Canberra.|悉尼是澳大利亚的首都吗?|不是,澳大利亚的首都是堪培拉。
Is glass made of sand?|Yes, glass is made mainly of sand.|玻璃是用沙子做的吗?|是的,玻璃主要由沙子制成。""".splitlines()]

SMALL_TALK = [row.split("|") for row in """Hello!;Hi!;Hi there;Good morning;Hey;Hello, how are you?;Good evening|Hello! How can I help you?|你好!;您好;嗨;早上好;你好吗?;晚上好|你好!有什么可以帮你的吗?
Thank you!;Thanks a lot.;Thanks;Thank you very much for your help!|You're welcome!|谢谢!;谢谢你;非常感谢;多谢你的帮助|不客气!
Goodbye!;Bye;See you later;Good night|Goodbye! Have a nice day.|再见!;拜拜;回头见;晚安|再见!祝你愉快。
Who are you?;What are you?;Introduce yourself.;What is your name?;Tell me about yourself|I am hearth's demo model, a small assistant that can answer simple questions and use tools.|你是谁?;你叫什么名字?;介绍一下你自己。;请做个自我介绍|我是hearth的演示模型,一个能回答简单问题、会使用工具的小助手。
What can you do?;How can you help me?;What are your abilities?|I can answer simple questions, remember what you tell me in this conversation, and use tools such as search and files.|你能做什么?;你会什么?;你有什么功能?|我能回答简单的问题,记住你在这次对话中说的话,还能使用搜索、文件等工具。
Are you a human?;Are you a robot?;Are you an AI?|I am a small language model, not a human.|你是人吗?;你是机器人吗?;你是人工智能吗?|我是一个小型语言模型,不是人。
Tell me a joke.;Do you know a joke?;Make me laugh.|Why do programmers confuse Halloween and Christmas? Because Oct 31 equals Dec 25.|讲个笑话。;你会讲笑话吗?;逗我笑一下|程序员为什么总分不清万圣节和圣诞节?因为Oct 31等于Dec 25。
I am tired.;I feel exhausted.;I had a long day.|Take a break and drink some water. You deserve it.|我累了。;我好累;今天好累啊|休息一下,喝点水吧,辛苦了。
I am sad.;I feel sad today.;I'm feeling down|I am sorry to hear that. Do you want to tell me what happened?|我很难过。;我今天心情不好;我有点伤心|听到这个我很遗憾。想和我说说发生了什么吗?
I am happy today.;I feel great!;Today is a wonderful day.|That is great to hear!|我今天很高兴。;我心情很好!;今天真开心|太好了,真为你高兴!""".splitlines()]

ADVICE = [row.split("|") for row in """stay healthy|1. Eat plenty of vegetables.\\n2. Move every day.\\n3. Sleep enough.|保持健康|1. 多吃蔬菜。\\n2. 每天运动。\\n3. 保证睡眠。
save energy|1. Switch off lights you do not need.\\n2. Lower the heating a little.\\n3. Use efficient devices.|节约能源|1. 随手关灯。\\n2. 把暖气调低一点。\\n3. 使用节能的电器。
learn a language|1. Practise a little every day.\\n2. Listen to native speakers.\\n3. Speak without fear of mistakes.|学习一门语言|1. 每天练习一点。\\n2. 多听母语者说话。\\n3. 大胆开口,不怕犯错。
write better code|1. Keep functions short.\\n2. Choose clear names.\\n3. Write tests.|写出更好的代码|1. 函数要短。\\n2. 名字要清楚。\\n3. 要写测试。
protect my data|1. Make regular backups.\\n2. Use strong passwords.\\n3. Keep software up to date.|保护数据|1. 定期备份。\\n2. 使用强密码。\\n3. 及时更新软件。
sleep better|1. Go to bed at the same time.\\n2. Avoid screens before sleep.\\n3. Keep the room cool and dark.|睡得更好|1. 固定时间上床。\\n2. 睡前不看屏幕。\\n3. 让房间凉爽、黑暗。
choose a good password|1. Make it long.\\n2. Use it for one account only.\\n3. Keep it in a password manager.|选一个好密码|1. 要足够长。\\n2. 只用于一个账号。\\n3. 保存在密码管理器里。
prepare for an exam|1. Start early.\\n2. Make a plan.\\n3. Test yourself.|准备考试|1. 早点开始。\\n2. 制定计划。\\n3. 自我测试。
cook rice|1. Wash the rice.\\n2. Add two cups of water to one cup of rice.\\n3. Simmer for about fifteen minutes.|煮米饭|1. 把米洗净。\\n2. 一杯米加两杯水。\\n3. 小火煮大约十五分钟。
make tea|1. Boil water.\\n2. Pour it over the leaves.\\n3. Wait three minutes.|泡茶|1. 把水烧开。\\n2. 冲在茶叶上。\\n3. 等三分钟。
speed up my computer|1. Close programs you do not use.\\n2. Free some disk space.\\n3. Add more memory.|让电脑更快|1. 关闭不用的程序。\\n2. 清理磁盘空间。\\n3. 增加内存。
relax after work|1. Take a walk.\\n2. Listen to music.\\n3. Talk with a friend.|下班后放松|1. 散散步。\\n2. 听听音乐。\\n3. 和朋友聊聊天。""".splitlines()]

PAST = [row.split(",") for row in "go,went;eat,ate;see,saw;take,took;write,wrote;run,ran;come,came;give,gave;buy,bought;think,thought;make,made;find,found;know,knew;speak,spoke;swim,swam;drive,drove;break,broke;sing,sang;begin,began;teach,taught".split(";")]
PLURALS = [row.split(",") for row in "child,children;mouse,mice;foot,feet;tooth,teeth;man,men;woman,women;goose,geese;leaf,leaves;knife,knives;city,cities;box,boxes;person,people;sheep,sheep;fish,fish;wolf,wolves;baby,babies".split(";")]
DAYS = pairs("Monday=星期一;Tuesday=星期二;Wednesday=星期三;Thursday=星期四;Friday=星期五;Saturday=星期六;Sunday=星期日")
MONTHS = pairs("January=一月;February=二月;March=三月;April=四月;May=五月;June=六月;July=七月;August=八月;September=九月;October=十月;November=十一月;December=十二月")
NUMBERS = pairs("one=一;two=两;three=三;four=四;five=五;six=六")
SOUNDS = [row.split(",") for row in "dog,barks,狗,汪汪;cat,meows,猫,喵喵;cow,moos,牛,哞哞;duck,quacks,鸭子,嘎嘎;sheep,bleats,羊,咩咩;rooster,crows,公鸡,喔喔;bee,buzzes,蜜蜂,嗡嗡;frog,croaks,青蛙,呱呱;lion,roars,狮子,吼吼;bird,chirps,小鸟,叽叽喳喳".split(";")]
SENTENCES = [  # for translation
    *pairs("Good morning.=早上好。;I like reading.=我喜欢读书。;The weather is nice today.=今天天气很好。;Where is the station?=车站在哪里?;I would like a cup of tea.=我想要一杯茶。;This book is interesting.=这本书很有意思。;She works in a hospital.=她在医院工作。;We are going to the park.=我们要去公园。;How much does this cost?=这个多少钱?;My brother is a student.=我弟弟是学生。;Please close the door.=请关门。;The train leaves at eight.=火车八点开。;I do not understand.=我不明白。;He drinks coffee every morning.=他每天早上喝咖啡。;See you tomorrow.=明天见。;The cat is sleeping on the sofa.=猫在沙发上睡觉。;I have two sisters.=我有两个姐姐。;Can you help me?=你能帮我吗?;It is raining outside.=外面在下雨。;Happy birthday!=生日快乐!"),
]
COMMON_HANZI = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近矿千周委素技备半办青省列习响约支般史感劳便团往酸历市克何除消构府称太准精值号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价严"
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰飞鹏浩宇欣怡雪梅晨曦文博思远嘉琪子涵梓萱俊峰雨桐若溪志强建国海燕晓东春花秋月冬梅夏荷"
NAMES = "Alice Bob Carol David Emma Frank Grace Henry Isabel Jack Karen Liam Maria Noah Olivia Peter Quinn Rachel Samuel Tara Uma Victor Wendy Xavier Yara Zoe Amara Bruno Chen Daria Elif Farid Greta Hugo Ines Jonas Keiko Lars Mina Nadia Oscar Priya Rosa Stefan Tomas Ulrich Vera Walter Yusuf Zara Anton Bianca Carlos Diego Elena Fatima Gustav Hanna Ivan Julia".split()
CITIES = [(row[2], row[3]) for row in COUNTRIES] + pairs("Shanghai=上海;London=伦敦;Hamburg=汉堡;Barcelona=巴塞罗那;Milan=米兰;Osaka=大阪;Mumbai=孟买;Boston=波士顿;Chicago=芝加哥;Toronto=多伦多;Sydney=悉尼;Guangzhou=广州;Shenzhen=深圳;Hangzhou=杭州;Chengdu=成都;Nanjing=南京;Munich=慕尼黑;Geneva=日内瓦;Zurich=苏黎世;Krakow=克拉科夫")
FOODS = pairs("pizza=披萨;noodles=面条;dumplings=饺子;rice=米饭;soup=汤;chocolate=巧克力;bread=面包;cheese=奶酪;sushi=寿司;salad=沙拉;tofu=豆腐;fish=鱼")
PETS = pairs("dog=狗;cat=猫;rabbit=兔子;parrot=鹦鹉;turtle=乌龟;hamster=仓鼠;horse=马")
